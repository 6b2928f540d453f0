// Names and shapes of small models for tests of the policy: no weights behind them.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "octavo/policy.h"

namespace octavo::quant::testing {

class Names {
 public:
  Names& Add(const std::string& name, Shape shape, DType dtype = DType::kF16) {
    format::SourceTensor tensor;
    tensor.name = name;
    tensor.dtype = dtype;
    tensor.shape = shape;
    tensor.offset = end_;
    tensor.bytes = *shape.NumElements() * DTypeBytes(dtype);
    end_ += tensor.bytes;
    tensors_.push_back(tensor);
    return *this;
  }
  const std::vector<format::SourceTensor>& tensors() const { return tensors_; }

 private:
  std::vector<format::SourceTensor> tensors_;
  uint64_t end_ = 0;
};

inline ModelConfig Config(const std::string& model_type, const std::string& architecture = "") {
  ModelConfig config;
  config.model_type = model_type;
  config.architecture = architecture;
  return config;
}

// Null if the policy has no such module.
inline const Decision* Find(const Policy& policy, const std::string& module) {
  const auto it = std::ranges::find(policy.decisions, module, &Decision::module);
  return it == policy.decisions.end() ? nullptr : &*it;
}

inline bool HasWarning(const Policy& policy, const std::string& part) {
  return std::ranges::any_of(policy.warnings, [&](const std::string& warning) {
    return warning.find(part) != std::string::npos;
  });
}

}  // namespace octavo::quant::testing
