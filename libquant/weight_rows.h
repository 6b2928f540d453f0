// Rows of a weight as the linear multiplies with it, [out_features][in_features], whatever way the
// source keeps it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libquant/source_form.h"
#include "octavo/checkpoint.h"
#include "octavo/kernels.h"
#include "octavo/result.h"

namespace octavo::quant {

// A linear's weight, or that of all experts of a layer.
struct WeightInfo {
  const format::SourceTensor* tensor = nullptr;
  kernels::ElementType type = kernels::ElementType::kFloat16;
  uint64_t in_features = 0;
  uint64_t out_features = 0;
  uint64_t experts = 1;
  bool transposed = false;
  WeightScales scales;  // of what is not plain floats; `type` is then that of the rows read

  uint64_t num_rows() const { return experts * out_features; }
};

kernels::ElementType ToElementType(DType dtype);  // Requires: IsQuantizable(dtype)

// Memory of one worker, reused from item to item.
struct RowBuffers {
  std::vector<std::byte> source;     // as the file has it
  std::vector<std::byte> untangled;  // transposed weights: [rows][in_features]
  std::vector<uint16_t> half;        // after the detour through fp16
  std::vector<std::byte> scales;     // of the rows, in the source's type
};

// Rows in the source's type, in one of the buffers; fp8 as fp32, codes as they are.
struct WeightRows {
  const std::byte* data = nullptr;
  bool is_source_order = false;  // buffers->source has the file's bytes from `offset` on
  uint64_t offset = 0;
};

// Reads rows [first_row, first_row + num_rows) of all experts' rows together. Requires: all of one
// expert. A transposed weight is read in segments, one for each input feature, and turned around in
// memory.
Result<WeightRows> ReadWeightRows(const format::Checkpoint& source, const WeightInfo& weight,
                                  uint64_t first_row, uint64_t num_rows, RowBuffers* buffers);

// Scales of rows of codes. Errors: kIo, kRefused (one that no file may hold, R26).
Result<std::vector<float>> ReadRowScales(const format::Checkpoint& source, const WeightInfo& weight,
                                         uint64_t first_row, uint64_t num_rows,
                                         RowBuffers* buffers);

// The rows rounded to fp16, in buffers->half. False if a value overflows or is not finite.
bool RoundToHalf(const std::byte* rows, kernels::ElementType type, size_t count,
                 RowBuffers* buffers);

// fp32 rows rounded to bf16, in buffers->half. False if a value is not finite afterwards.
bool RoundToBFloat16(const std::byte* rows, size_t count, RowBuffers* buffers);

// The first value, in the source's order, that is NaN or infinite, or with via_fp16 overflows
// there.
struct BadValue {
  bool overflows = false;  // finite, but not in fp16
  std::string text;        // "NaN at [3, 17]", indices as the source stores them
};
// Reads the tensor from its start; NaN and infinity are looked for first. Errors: kNotFound if
// there is none.
Result<BadValue> FindBadValue(const format::Checkpoint& source, const format::SourceTensor& tensor,
                              bool via_fp16);

}  // namespace octavo::quant
