// How far a row's codes are from its weights, summed so that every machine and thread count gives
// the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/kernels.h"
#include "octavo/manifest.h"

namespace octavo::quant {

// The decoded weight is (code - zero_point) * scale / divisor: divisor 127 under absmax, 1 under
// step.
struct Decoding {
  float scale = 0;
  int32_t zero_point = 0;
  bool is_step = false;
};

// Sums over rows. Errors are kept multiplied by the divisor: divisor * w and (code - zero_point) *
// scale are exact in double, and so is their difference wherever the code is not 0, hence an exact
// row has an error of exactly 0.
struct ErrorSums {
  double weight_squares = 0;
  double error_squares = 0;
  double max_error = 0;
  uint64_t saturated = 0;  // codes at the ends of their range

  // Adds the next row's sums. The order of calls is part of the result.
  void Add(const ErrorSums& row);
};

// One row: 8 double lanes (element k in lane k % 8), added pairwise at the end. Requires: finite
// weights.
ErrorSums MeasureRow(const void* weights, kernels::ElementType type, const int8_t* codes,
                     size_t in_features, const Decoding& decoding);

// What the manifest says of a module: snr_db rounded to 0.01, nothing for an exact one.
format::ModuleError Summarize(const ErrorSums& sums, bool is_step, uint64_t num_codes,
                              float scale_min, float scale_max);

}  // namespace octavo::quant
