// Two tensors, or two weights in whatever form, compared element by element on many threads.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "libquant/progress_meter.h"
#include "octavo/manifest.h"
#include "octavo/reader.h"
#include "octavo/result.h"

namespace octavo::quant {

// One side: a stored tensor, or the codes of a quantized module.
struct Operand {
  const format::Reader* reader = nullptr;
  const format::TensorEntry* entry = nullptr;
  const format::Module* module = nullptr;  // `entry` is its codes; null: a stored tensor
  bool transposed = false;  // stored as [in_features, out_features], beside codes of the other side

  uint64_t bytes() const;  // that are compared, padding of a layout not counted
};

struct ValueSums {
  uint64_t elements = 0;
  uint64_t differing = 0;
  double largest = 0;
  double a_squares = 0;
  double error_squares = 0;
  // Of the codes, where both sides have some.
  uint64_t codes_differing = 0;
  int32_t largest_of_codes = 0;

  // The order of calls is part of the result.
  void Add(const ValueSums& rows);
};

struct Comparison {
  Operand a, b;
  ValueSums sums;

  bool has_numbers() const;  // else bits alone are compared
  bool is_real() const;      // weights and the like, no indices or sums of codes
};

// Fills in the sums. Requires of each comparison: operands of one shape, or modules of the same
// features and experts, or one of them and a stored weight of those features. Errors: as
// Reader::ReadRows and ModuleScales::Read, kLimit, kCancelled.
Status CompareValues(std::vector<Comparison>* comparisons, int32_t num_threads,
                     ProgressMeter* progress);

}  // namespace octavo::quant
