// A linear that the file keeps in 16 bit (or 32), as the output head usually is. Octavo multiplies
// int8 linears; this is the engine's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <octavo/model.h>

#include "real.h"
#include "workshop.h"

namespace generate {

// Weights stay in the mapping where they are stored [out_features, in_features] without
// compression. The model must outlive it. Move-only; const and thread-safe.
class KeptLinear {
 public:
  // Errors: kInvalidFile, and those of ReadBytes.
  static octavo::Result<KeptLinear> Load(const octavo::Model& model,
                                         const octavo::format::Module& module);
  KeptLinear(KeptLinear&&) = default;
  KeptLinear& operator=(KeptLinear&&) = default;

  int64_t in_features() const { return in_features_; }
  int64_t out_features() const { return out_features_; }

  // y = x W^T + bias: x [tokens, in_features], y [tokens, out_features] with rows
  // y_stride apart.
  void Multiply(const Real* x, int64_t tokens, Real* y, int64_t y_stride, Workshop& workshop) const;

 private:
  KeptLinear() = default;
  octavo::DType dtype_ = octavo::DType::kF16;
  int64_t in_features_ = 0;
  int64_t out_features_ = 0;
  std::span<const std::byte> weight_;
  std::vector<std::byte> owned_;
  std::vector<Real> bias_;  // empty: none
};

}  // namespace generate
