#include "libquant/export_config.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace octavo::quant {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 64;
constexpr const char* kKey = "quantization_config";

Result<Json> Parse(std::string_view text) {
  bool too_deep = false;
  const auto depth_check = [&too_deep](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  Json parsed = Json::parse(text.begin(), text.end(), depth_check, /*allow_exceptions=*/false);
  if (too_deep || !parsed.is_object()) {
    return Status(ErrorCode::kInvalidFile, "config.json: not a JSON object, or nested too deep");
  }
  return parsed;
}

// A float32 as the shortest decimal that reads back equal, not as the double it is.
double Shortest(float value) {
  char text[32];
  for (int digits = 1; digits < 9; ++digits) {
    std::snprintf(text, sizeof(text), "%.*g", digits, static_cast<double>(value));
    if (std::strtof(text, nullptr) == value) break;
  }
  return std::strtod(text, nullptr);
}

// What BitsAndBytesConfig writes.
Json BitsandbytesConfig(float threshold, const ExportPlan& plan) {
  return {{"_load_in_4bit", false},
          {"_load_in_8bit", true},
          {"bnb_4bit_compute_dtype", "float32"},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_quant_type", "fp4"},
          {"bnb_4bit_use_double_quant", false},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", plan.other_linears},
          {"llm_int8_threshold", Shortest(threshold)},
          {"load_in_4bit", false},
          {"load_in_8bit", true},
          {"quant_method", "bitsandbytes"}};
}

// The preset W8A8: per-channel weights, one scale for each token of the activations.
Json CompressedTensorsConfig(const ExportPlan& plan) {
  const auto arguments = [](bool is_dynamic, const char* strategy) {
    return Json{{"dynamic", is_dynamic}, {"group_size", nullptr}, {"num_bits", 8},
                {"strategy", strategy},  {"symmetric", true},     {"type", "int"}};
  };
  const Json group = {{"input_activations", arguments(true, "token")},
                      {"output_activations", nullptr},
                      {"targets", {"Linear"}},
                      {"weights", arguments(false, "channel")}};
  return {{"config_groups", {{"group_0", group}}}, {"format", "int-quantized"},
          {"ignore", plan.other_linears},          {"kv_cache_scheme", nullptr},
          {"quant_method", "compressed-tensors"},  {"quantization_status", "compressed"}};
}

// docs/python.md.
Json OctavoConfig(const format::Quantization& quantization, bool is_full_range,
                  const ExportPlan& plan) {
  Json config = {{"quant_method", "octavo"},
                 {"version", 1},
                 {"method", Name(quantization.method)},
                 {"compat", Name(quantization.compat)},
                 {"threshold", Shortest(quantization.threshold)},
                 {"scope", Name(quantization.scope)},
                 {"row_rule", Name(quantization.row_rule)},
                 {"activations", Name(quantization.activations)},
                 {"activations_via_fp16", quantization.activations_via_fp16}};
  if (is_full_range) config["full_range"] = true;
  config["modules_to_not_convert"] = plan.other_linears;
  return config;
}

bool IsFullRange(const format::Manifest& manifest) {
  return std::ranges::any_of(manifest.modules, [](const format::Module& module) {
    return module.scheme && module.scheme->full_range;
  });
}

}  // namespace

DType WeightsDType(std::string_view config_json) {
  const Result<Json> config = Parse(config_json);
  if (!config.ok()) return DType::kBF16;
  for (const char* key : {"dtype", "torch_dtype"}) {
    const auto it = config->find(key);
    if (it == config->end() || !it->is_string()) continue;
    if (*it == "float16") return DType::kF16;
    if (*it == "float32") return DType::kF32;
  }
  return DType::kBF16;
}

Result<std::string> AdaptConfig(std::string_view config_json, ExportFormat format,
                                const format::Manifest& manifest, const ExportPlan& plan) {
  OCTAVO_ASSIGN_OR_RETURN(Json config, Parse(config_json));
  const float threshold = manifest.quantization.threshold;
  const auto before = config.find(kKey);
  const bool is_same = before != config.end() && before->is_object() &&
                       before->value("quant_method", "") == std::string(Name(format));
  if (format == ExportFormat::kSafetensors) {
    config.erase(kKey);
  } else if (format == ExportFormat::kBitsandbytes) {
    if (is_same) {
      (*before)["llm_int8_threshold"] = Shortest(threshold);
    } else {
      config[kKey] = BitsandbytesConfig(threshold, plan);
    }
  } else if (format == ExportFormat::kCompressedTensors && !is_same) {
    config[kKey] = CompressedTensorsConfig(plan);
  } else if (format == ExportFormat::kTransformers) {
    config[kKey] = OctavoConfig(manifest.quantization, IsFullRange(manifest), plan);
  }
  return config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace octavo::quant
