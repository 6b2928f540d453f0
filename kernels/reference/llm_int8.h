// LLM.int8() as docs/numerics.md defines it, in plain loops. This is the text that every backend is
// tested against: it is meant to be read, not to be fast. Section numbers are those of
// docs/numerics.md.
//
//   QuantizedWeights weights = QuantizeWeights(w, Method::kVectorWise);
//   QuantizedRows rows = QuantizeActivations(x, options, {});
//   Matrix y = Multiply(x, rows, weights, {}, {});
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "octavo/kernels.h"

namespace octavo::reference {

// Row-major. An fp16 or bf16 matrix is widened to float first, which is exact.
struct Matrix {
  size_t rows = 0;
  size_t cols = 0;
  std::vector<float> data;

  Matrix() = default;
  Matrix(size_t num_rows, size_t num_cols)
      : rows(num_rows), cols(num_cols), data(num_rows * num_cols) {}
  float& at(size_t row, size_t col) { return data[row * cols + col]; }
  float at(size_t row, size_t col) const { return data[row * cols + col]; }
};

// The methods of the paper's first table (section 6); LLM.int8() is the first one.
enum class Method { kVectorWise, kRowWise, kTensorWise, kZeropointTensor, kZeropointVector };

// `base` with what the method says about the activations' side.
kernels::ActivationOptions OptionsOf(Method method, kernels::ActivationOptions base);

// One zero-point grid (sections 3 and 6): value ~ (code - zero_point) * step, codes from 0 to 255.
struct ZeropointGrid {
  float inverse_step = 0;
  float step = 0;
  int32_t zero_point = 0;
  double exact_step = 0;  // the step before its rounding
};
ZeropointGrid MakeZeropointGrid(float lo, float hi);

// W [out_features][in_features] as the file stores it (sections 2 and 6).
struct QuantizedWeights {
  size_t out_features = 0;
  size_t in_features = 0;
  std::vector<int8_t> codes;
  std::vector<float> absmax;        // [out_features]; empty for the zeropoint methods
  std::vector<float> step;          // [out_features]; only for the zeropoint methods
  std::vector<int32_t> zero_point;  // [out_features]; only for the zeropoint methods
  std::vector<int32_t> code_sum;    // [out_features]

  // W[n][k] is about (code - zero point) * multiplier.
  int32_t code_less_zero_point(size_t n, size_t k) const;
  float multiplier(size_t n) const;         // a: absmax / 127, or the step
  double exact_multiplier(size_t n) const;  // before its rounding
};
// Requires: every entry of w is finite.
QuantizedWeights QuantizeWeights(const Matrix& w, Method method);

// X [tokens][in_features] quantized (section 3).
struct QuantizedRows {
  size_t tokens = 0;
  size_t in_features = 0;
  std::vector<bool> unquantized;         // [tokens][in_features]: the entry is in G
  std::vector<int32_t> outlier_columns;  // O, ascending, kept columns not counted
  std::vector<int32_t> codes;            // [tokens][in_features]: q, or u
  std::vector<float> scale;              // [tokens]: s
  std::vector<double> exact_scale;       // before its rounding
  std::vector<int32_t> zero_point;       // [tokens]: z; 0 where symmetric
};
QuantizedRows QuantizeActivations(const Matrix& x, const kernels::ActivationOptions& options,
                                  const std::vector<int32_t>& kept_index);

// acc [tokens][out_features], exact (section 4).
std::vector<int64_t> Accumulate(const QuantizedRows& x, const QuantizedWeights& w);

// Kept columns (section 5): weight [index.size()][out_features], widened from 16 bit.
struct KeptColumns {
  std::vector<int32_t> index;
  Matrix weight;
};

// y [tokens][out_features] in float32, before the one rounding to the output type (section 4).
// `bias`: [out_features], or empty. `x`: as given, also where `rows` was made via fp16.
Matrix Multiply(const Matrix& x, const QuantizedRows& rows, const QuantizedWeights& weights,
                const KeptColumns& kept, const std::vector<float>& bias);

// The same in float64 with unrounded scales, and what the bound of section 7 is made of.
struct ExactOutput {
  double y = 0;
  double magnitude = 0;       // |int8 term| + sum of |X * W16| over G's finite products + |bias|
  size_t unquantized = 0;     // entries of G in the row
  bool may_overflow = false;  // |acc| * s, the sum of |X * code|, or magnitude reaches 2^127
};
std::vector<ExactOutput> MultiplyExactly(const Matrix& x, const QuantizedRows& rows,
                                         const QuantizedWeights& weights, const KeptColumns& kept,
                                         const std::vector<float>& bias);

}  // namespace octavo::reference
