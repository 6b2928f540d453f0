#include "tools/json.h"

#include <optional>
#include <utility>

namespace octavo::tools {
namespace {

template <typename T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json OrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json SchemeJson(const format::SchemeDescriptor& scheme) {
  return {{"name", scheme.name},
          {"codes", scheme.codes},
          {"layout", format::Name(scheme.layout)},
          {"full_range", scheme.full_range},
          {"scales", scheme.scales},
          {"convention", format::Name(scheme.convention)},
          {"code_sum", scheme.code_sum},
          {"zero_point", OrNull(scheme.zero_point)}};
}

}  // namespace

Json SourceJson(const format::Source& source) {
  Json files = Json::array();
  for (const format::SourceFile& file : source.files) {
    files.push_back({{"name", file.name},
                     {"bytes", file.bytes},
                     {"xxh3", file.xxh3},
                     {"sha256", OrNull(file.sha256)}});
  }
  return {{"format", source.format},
          {"model_type", OrNull(source.model_type)},
          {"architecture", OrNull(source.architecture)},
          {"known_architecture", source.known_architecture},
          {"files", std::move(files)}};
}

Json QuantizationJson(const format::Quantization& quantization) {
  return {{"method", format::Name(quantization.method)},
          {"compat", format::Name(quantization.compat)},
          {"threshold", quantization.threshold},
          {"scope", format::Name(quantization.scope)},
          {"row_rule", format::Name(quantization.row_rule)},
          {"activations", format::Name(quantization.activations)},
          {"weights_via_fp16", quantization.weights_via_fp16},
          {"activations_via_fp16", quantization.activations_via_fp16}};
}

Json ModuleJson(const format::Module& module, uint64_t kept_columns, uint64_t bytes) {
  Json json = {{"name", module.name},
               {"kind", format::Name(module.kind)},
               {"in_features", module.in_features},
               {"out_features", module.out_features},
               {"experts", module.experts},
               {"quantized", module.quantized},
               {"reason", module.reason},
               {"source_tensor", OrNull(module.source_tensor)},
               {"source_dtype", nullptr},
               {"transposed", module.transposed},
               {"tied_to", OrNull(module.tied_to)},
               {"weight", OrNull(module.weight)},
               {"bias", OrNull(module.bias)},
               {"tensors", TensorsOf(module)},
               {"stored_bytes", bytes},
               {"kept_columns", kept_columns},
               {"snr_db", nullptr}};
  if (module.source_dtype) json["source_dtype"] = DTypeName(*module.source_dtype);
  if (module.error) {
    json["snr_db"] = OrNull(module.error->snr_db);
    json["max_abs_error"] = module.error->max_abs_error;
    json["saturated_share"] = module.error->saturated_share;
    json["absmax_min"] = module.error->absmax_min;
    json["absmax_max"] = module.error->absmax_max;
  }
  if (module.scheme) json["scheme"] = SchemeJson(*module.scheme);
  return json;
}

Json ModulesJson(const format::Manifest& manifest, const ModelFacts& facts) {
  Json modules = Json::array();
  for (size_t i = 0; i < manifest.modules.size(); ++i) {
    modules.push_back(
        ModuleJson(manifest.modules[i], facts.module_kept_columns[i], facts.module_bytes[i]));
  }
  return modules;
}

Json DecisionJson(const quant::Decision& decision, uint64_t bytes) {
  return {{"name", decision.module},
          {"kind", format::Name(decision.kind)},
          {"in_features", decision.in_features},
          {"out_features", decision.out_features},
          {"experts", decision.experts},
          {"quantized", decision.action == quant::Action::kQuantize},
          {"reason", decision.reason},
          {"source_tensor", OrNull(decision.weight)},
          {"transposed", decision.transposed},
          {"tied_to", OrNull(decision.tied_to)},
          {"stored_bytes", bytes}};
}

Json TensorJson(const format::TensorEntry& tensor) {
  return {{"name", tensor.name},
          {"dtype", DTypeName(tensor.dtype)},
          {"shape", tensor.shape.extents()},
          {"bytes", tensor.raw_bytes()},
          {"stored_bytes", tensor.bytes},
          {"codec", format::Name(tensor.codec)},
          {"chunks", tensor.xxh3.size()},
          {"shard", tensor.shard},
          {"offset", tensor.offset}};
}

Json GroupsJson(std::span<const ModuleGroup> groups) {
  Json array = Json::array();
  for (const ModuleGroup& group : groups) {
    array.push_back({{"pattern", group.pattern},
                     {"numbers", OrNull(group.numbers)},
                     {"modules", group.count},
                     {"in_features", group.first.in_features},
                     {"out_features", group.first.out_features},
                     {"experts", group.first.experts},
                     {"quantized", group.first.quantized},
                     {"reason", group.first.reason},
                     {"stored_bytes", group.bytes},
                     {"worst_snr_db", OrNull(group.worst_snr_db)}});
  }
  return array;
}

Json SummaryJson(const ModelFacts& facts, uint64_t bytes_file) {
  return {{"bytes_source", facts.bytes_source},
          {"bytes_file", bytes_file},
          {"quantized_modules", facts.quantized_modules},
          {"skipped_modules", facts.skipped_modules},
          {"bytes_quantized_source", facts.bytes_quantized_source},
          {"bytes_quantized_file", facts.bytes_quantized_file},
          {"kept_columns", facts.kept_columns}};
}

std::string ToText(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace octavo::tools
