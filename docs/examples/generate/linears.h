// The linears of a model, multiplied by Octavo. This file and its source are what the author of an
// engine reads first: everything that concerns int8 is here.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include <octavo/linear.h>
#include <octavo/model.h>

#include "kept_linear.h"
#include "real.h"
#include "workshop.h"

namespace generate {

// Linears that take the same input, as q, k and v do. Move-only; const and thread-safe.
class Linears {
 public:
  // `names`: modules of the file, quantized or not, at least one. Errors: kNotFound, kInvalidFile,
  // and those of octavo::Prepare, naming the module.
  static octavo::Result<Linears> Load(const octavo::Model& model,
                                      const std::vector<std::string>& names);

  int64_t in_features() const;
  int64_t out_features() const;  // of all together

  // y [tokens, out_features] = x [tokens, in_features] times each of them, side by side. x is
  // quantized once for all of them.
  octavo::Status Multiply(const Real* x, int64_t tokens, Real* y, Workshop& workshop) const;

 private:
  using Linear = std::variant<octavo::PreparedLinear, KeptLinear>;
  std::vector<Linear> linears_;
  bool shares_quantization_ = true;
};

}  // namespace generate
