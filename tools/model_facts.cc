#include "tools/model_facts.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <unordered_map>

namespace octavo::tools {
namespace {

using Index = std::unordered_map<std::string_view, const format::TensorEntry*>;

// What stands for a quantized weight; empty names where there is none.
std::vector<std::string> WeightTensors(const format::Module& module) {
  std::vector<std::string> names = {module.weight};
  if (module.scheme) {
    const format::SchemeDescriptor& scheme = *module.scheme;
    names.insert(names.end(), {scheme.codes, scheme.scales, scheme.code_sum, scheme.zero_point});
  }
  names.insert(names.end(), {module.kept_index, module.kept_weight});
  return names;
}

uint64_t StoredBytes(const Index& index, std::span<const std::string> names) {
  uint64_t bytes = 0;
  for (const std::string& name : names) {
    if (name.empty()) continue;
    if (const auto found = index.find(name); found != index.end()) bytes += found->second->bytes;
  }
  return bytes;
}

void AddQuantized(const format::Module& module, uint64_t weight_bytes, ModelFacts* facts) {
  ++facts->quantized_modules;
  const uint64_t matrices = std::max<uint64_t>(module.experts, 1);
  facts->bytes_quantized_source += matrices * module.in_features * module.out_features *
                                   DTypeBytes(module.source_dtype.value_or(DType::kF16));
  facts->bytes_quantized_file += weight_bytes;
}

}  // namespace

std::vector<std::string> TensorsOf(const format::Module& module) {
  std::vector<std::string> names = WeightTensors(module);
  names.push_back(module.bias);
  names.insert(names.end(), module.tensors.begin(), module.tensors.end());
  std::erase(names, "");
  return names;
}

ModelFacts FactsOf(const format::Manifest& manifest) {
  ModelFacts facts;
  Index index;
  for (const format::TensorEntry& tensor : manifest.tensors) index.emplace(tensor.name, &tensor);
  for (const format::SourceFile& file : manifest.source.files) facts.bytes_source += file.bytes;
  for (const format::Module& module : manifest.modules) {
    // A tied module's weight is another's.
    const uint64_t weight_bytes =
        module.tied_to.empty() ? StoredBytes(index, WeightTensors(module)) : 0;
    facts.module_bytes.push_back(weight_bytes + StoredBytes(index, {&module.bias, 1}) +
                                 StoredBytes(index, module.tensors));
    if (module.quantized) {
      AddQuantized(module, weight_bytes, &facts);
    } else {
      ++facts.skipped_modules;
    }
    const auto kept = index.find(module.kept_index);
    const bool has_kept = !module.kept_index.empty() && kept != index.end();
    facts.module_kept_columns.push_back(has_kept ? kept->second->shape.NumElements().value_or(0)
                                                 : 0);
    facts.kept_columns += facts.module_kept_columns.back();
  }
  return facts;
}

}  // namespace octavo::tools
