#include "libquant/source_modules.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "libquant/name_rules.h"

namespace octavo::quant {
namespace {

using format::SourceTensor;

std::string ModuleName(const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  return dot == std::string::npos || dot == 0 ? tensor : tensor.substr(0, dot);
}

// A 3-D tensor of all experts has no ".weight" of its own: "mlp.experts.gate_up_proj".
bool IsExpertTensor(const SourceTensor& tensor) {
  if (tensor.shape.rank() != 3 || !IsQuantizable(tensor.dtype)) return false;
  const std::vector<std::string_view> parts = SplitComponents(tensor.name);
  return parts.back() != "weight" && std::ranges::find(parts, "experts") != parts.end();
}

}  // namespace

std::vector<SourceModule> GroupByModule(std::span<const SourceTensor> tensors) {
  std::unordered_map<std::string, size_t> expert_names;
  for (const SourceTensor& tensor : tensors) {
    if (IsExpertTensor(tensor)) expert_names.emplace(tensor.name, 0);
  }
  std::vector<SourceModule> groups;
  std::unordered_map<std::string, size_t> group_of;
  for (const SourceTensor& tensor : tensors) {
    const bool is_experts = expert_names.contains(tensor.name);
    std::string module = is_experts ? tensor.name : ModuleName(tensor.name);
    if (tensor.name.ends_with("_bias")) {
      const std::string owner = tensor.name.substr(0, tensor.name.size() - 5);
      if (expert_names.contains(owner)) module = owner;
    }
    const auto [it, is_new] = group_of.emplace(module, groups.size());
    if (is_new) groups.emplace_back().module = module;
    SourceModule& group = groups[it->second];
    group.is_experts = group.is_experts || is_experts;
    if (is_experts || tensor.name == module + ".weight") {
      group.weight = &tensor;
    } else {
      group.others.push_back(&tensor);
    }
  }
  return groups;
}

}  // namespace octavo::quant
