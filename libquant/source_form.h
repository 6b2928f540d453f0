// What the numbers of a source's weights are: floats to quantize, int8 codes to take over, or fp8
// with scales of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "octavo/manifest.h"
#include "octavo/policy.h"

namespace octavo::quant {

enum class WeightForm : uint8_t {
  kFloat,  // F16, BF16, F32
  kCodes,  // int8, one scale for each row
  kFp8,    // F8_E4M3 times a scale: dequantized while it is read
};

// A tensor of the source by name; null: there is none.
using FindTensor = std::function<const format::SourceTensor*(std::string_view)>;

struct WeightScales {
  WeightForm form = WeightForm::kFloat;
  const format::SourceTensor* tensor = nullptr;                           // null: kFloat
  format::ScaleConvention convention = format::ScaleConvention::kAbsmax;  // kCodes
  // kFp8: the weights that share a scale, [rows, columns]; 0: all.
  uint64_t block_rows = 0;
  uint64_t block_columns = 0;
};

// The scales that belong to a weight, by name, type and shape: bitsandbytes' ".SCB", or
// compressed-tensors' ".weight_scale" beside int8; ".weight_scale_inv" (DeepSeek) or
// ".weight_scale" beside F8_E4M3, for 128 x 128 blocks, rows or all. Errors: kRefused, for a weight
// of codes without scales that we know; says what was found.
Result<WeightScales> FindScales(const format::SourceTensor& weight, const FindTensor& find);

// Whether the tensor only says how a quantized weight is to be read: it is no part of the output.
bool IsCompanion(const format::SourceTensor& tensor, const FindTensor& find);

// Whether every quantized weight can be taken over or dequantized, judged by config.json, types,
// shapes and names. Errors: kRefused, with what gave it away and what to do.
Status CheckQuantizedSource(std::span<const format::SourceTensor> tensors,
                            const ModelConfig& config, const FindTensor& find);

}  // namespace octavo::quant
