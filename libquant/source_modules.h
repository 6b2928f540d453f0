// Which tensors of a source belong together: "h.0.attn.c_attn.weight" and "…bias" are one module.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "octavo/checkpoint.h"

namespace octavo::quant {

// The tensors of one module, in the source's order; they outlive it.
struct SourceModule {
  std::string module;
  const format::SourceTensor* weight = nullptr;  // null: none is called "….weight"
  std::vector<const format::SourceTensor*> others;
  // `weight` is a 3-D tensor of all experts, and the module's name is the tensor's.
  bool is_experts = false;
};

// In the order of the modules' first tensors.
std::vector<SourceModule> GroupByModule(std::span<const format::SourceTensor> tensors);

}  // namespace octavo::quant
