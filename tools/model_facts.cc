#include "tools/model_facts.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <unordered_map>

namespace octavo::tools {
namespace {

// What stands for a quantized weight; empty names where there is none.
std::vector<std::string_view> WeightTensors(const format::Module& module) {
  std::vector<std::string_view> names = {module.weight};
  if (module.scheme) {
    const format::SchemeDescriptor& scheme = *module.scheme;
    names.insert(names.end(), {scheme.codes, scheme.scales, scheme.code_sum, scheme.zero_point});
  }
  names.insert(names.end(), {module.kept_index, module.kept_weight});
  return names;
}

uint64_t StoredBytes(const FindTensor& find, std::span<const std::string_view> names) {
  uint64_t bytes = 0;
  for (const std::string_view name : names) {
    if (name.empty()) continue;
    if (const format::TensorEntry* tensor = find(name)) bytes += tensor->bytes;
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
  const std::vector<std::string_view> weight = WeightTensors(module);
  std::vector<std::string> names(weight.begin(), weight.end());
  names.push_back(module.bias);
  names.insert(names.end(), module.tensors.begin(), module.tensors.end());
  std::erase(names, "");
  return names;
}

ModelFacts FactsOf(const format::Manifest& manifest, const FindTensor& find) {
  ModelFacts facts;
  for (const format::SourceFile& file : manifest.source.files) facts.bytes_source += file.bytes;
  for (const format::Module& module : manifest.modules) {
    // A tied module's weight is another's.
    const uint64_t weight_bytes =
        module.tied_to.empty() ? StoredBytes(find, WeightTensors(module)) : 0;
    std::vector<std::string_view> others(module.tensors.begin(), module.tensors.end());
    others.push_back(module.bias);
    facts.module_bytes.push_back(weight_bytes + StoredBytes(find, others));
    if (module.quantized) {
      AddQuantized(module, weight_bytes, &facts);
    } else {
      ++facts.skipped_modules;
    }
    uint64_t kept_columns = 0;
    if (!module.kept_index.empty()) {
      const format::TensorEntry* kept = find(module.kept_index);
      if (kept != nullptr) kept_columns = kept->shape.NumElements().value_or(0);
    }
    facts.module_kept_columns.push_back(kept_columns);
    facts.kept_columns += facts.module_kept_columns.back();
  }
  return facts;
}

ModelFacts FactsOf(const format::Reader& reader) {
  return FactsOf(reader.manifest(), [&](std::string_view name) { return reader.FindTensor(name); });
}

ModelFacts FactsOf(const format::Manifest& manifest) {
  std::unordered_map<std::string_view, const format::TensorEntry*> index;
  index.reserve(manifest.tensors.size());
  for (const format::TensorEntry& tensor : manifest.tensors) index.emplace(tensor.name, &tensor);
  return FactsOf(manifest, [&](std::string_view name) {
    const auto found = index.find(name);
    return found == index.end() ? nullptr : found->second;
  });
}

}  // namespace octavo::tools
