// Codes and scales back to weights (docs/format.md, section 8), in a type of 16 or 32 bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "octavo/dtype.h"
#include "octavo/manifest.h"
#include "octavo/reader.h"
#include "octavo/result.h"

namespace octavo::quant {

// What a module has besides its codes, in memory: scales, zero points, and of kept columns the
// exact weights. Read once for all rows.
class ModuleScales {
 public:
  // Requires: module.scheme. Errors: as Reader::ReadAll, kInvalidFile (kept columns, R29).
  static Result<ModuleScales> Read(const format::Reader& reader, const format::Module& module);

  // Weights of rows [first_row, first_row + num_rows) of all experts' rows together, into *out,
  // [num_rows][in_features] elements of `dtype` (F16, BF16, F32). Each is the product of
  // docs/format.md section 8 in double, rounded to float32 and from there to `dtype`; those of kept
  // columns are the stored ones. False if a weight overflows.
  bool Dequantize(std::span<const std::byte> codes, uint64_t first_row, uint64_t num_rows,
                  DType dtype, std::vector<std::byte>* out) const;
  // absmax / 127, or the step itself.
  float Step(uint64_t row) const;

 private:
  float Weight(uint64_t row, int32_t code) const;

  uint64_t in_features_ = 0;
  uint64_t out_features_ = 0;
  bool is_step_ = false;
  std::vector<float> scales_;
  std::vector<int32_t> zero_points_;  // empty: none
  std::vector<int32_t> kept_index_;
  DType kept_dtype_ = DType::kF16;
  std::vector<uint16_t> kept_;  // [kept][out_features]
};

}  // namespace octavo::quant
