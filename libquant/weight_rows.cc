#include "libquant/weight_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>

#include "octavo/half.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;
using format::SourceTensor;
using kernels::ElementType;

constexpr uint64_t kScanBytes = uint64_t{1} << 20;

// [columns][rows] -> [rows][columns], in square tiles so that both sides stay in the cache.
template <typename T>
void Transpose(const T* from, size_t columns, size_t rows, T* to) {
  constexpr size_t kTile = 32;
  for (size_t row_tile = 0; row_tile < rows; row_tile += kTile) {
    const size_t row_end = std::min(row_tile + kTile, rows);
    for (size_t column_tile = 0; column_tile < columns; column_tile += kTile) {
      const size_t column_end = std::min(column_tile + kTile, columns);
      for (size_t row = row_tile; row < row_end; ++row) {
        for (size_t column = column_tile; column < column_end; ++column) {
          to[row * columns + column] = from[column * rows + row];
        }
      }
    }
  }
}

Status ReadSegments(const Checkpoint& source, const WeightInfo& weight, uint64_t first_row,
                    uint64_t num_rows, std::byte* out) {
  const SourceTensor& tensor = *weight.tensor;
  const uint64_t element = ElementBytes(weight.type);
  const uint64_t expert = first_row / weight.out_features;
  const uint64_t first = first_row % weight.out_features;
  const uint64_t segment = num_rows * element;
  const uint64_t matrix =
      tensor.offset + expert * weight.in_features * weight.out_features * element;
  if (num_rows == weight.out_features) {  // all of the matrix: one read
    return source.ReadAt(tensor.file, matrix, {out, weight.in_features * segment});
  }
  for (uint64_t k = 0; k < weight.in_features; ++k) {
    const uint64_t offset = matrix + (k * weight.out_features + first) * element;
    OCTAVO_RETURN_IF_ERROR(source.ReadAt(tensor.file, offset, {out + k * segment, segment}));
  }
  return {};
}

float ToFloat(const std::byte* data, ElementType type, size_t index);

// F8_E4M3 (finite alone, "fn"): 1 sign, 4 exponent bits of bias 7, 3 of mantissa; all ones are NaN.
float Fp8ToFloat(uint8_t bits) {
  const float sign = (bits & 0x80u) != 0 ? -1.0f : 1.0f;
  const int exponent = bits >> 3 & 15;
  const int mantissa = bits & 7;
  if (exponent == 15 && mantissa == 7) return std::nanf("");
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
  return sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

std::array<float, 256> MakeFp8Table() {
  std::array<float, 256> table;
  for (size_t bits = 0; bits < table.size(); ++bits) {
    table[bits] = Fp8ToFloat(static_cast<uint8_t>(bits));
  }
  return table;
}

// Every weight of the rows times its scale, one rounding to fp32.
Status DequantizeFp8(const Checkpoint& source, const WeightInfo& weight, uint64_t first_row,
                     uint64_t num_rows, RowBuffers* buffers) {
  static const std::array<float, 256> kValues = MakeFp8Table();
  const WeightScales& scales = weight.scales;
  const ElementType type = ToElementType(scales.tensor->dtype);
  const uint64_t element = ElementBytes(type);
  const uint64_t row_scales =
      scales.block_columns == 0
          ? 1
          : (weight.in_features + scales.block_columns - 1) / scales.block_columns;
  const uint64_t block_rows = scales.block_rows == 0 ? weight.out_features : scales.block_rows;
  const uint64_t first_block = first_row / block_rows;
  const uint64_t num_blocks = (first_row + num_rows - 1) / block_rows - first_block + 1;
  buffers->scales.resize(num_blocks * row_scales * element);
  OCTAVO_RETURN_IF_ERROR(source.ReadAt(scales.tensor->file,
                                       scales.tensor->offset + first_block * row_scales * element,
                                       buffers->scales));
  buffers->untangled.resize(num_rows * weight.in_features * sizeof(float));
  const uint64_t width = scales.block_columns == 0 ? weight.in_features : scales.block_columns;
  float* out = reinterpret_cast<float*>(buffers->untangled.data());
  const std::byte* codes = buffers->source.data();
  for (uint64_t row = first_row; row < first_row + num_rows; ++row) {
    const uint64_t block = (row / block_rows - first_block) * row_scales;
    for (uint64_t column = 0; column < weight.in_features;) {
      const float scale = ToFloat(buffers->scales.data(), type, block + column / width);
      for (const uint64_t end = std::min(column + width, weight.in_features); column < end;
           ++column) {
        *out++ = kValues[static_cast<uint8_t>(*codes++)] * scale;
      }
    }
  }
  return {};
}

Result<WeightRows> ReadScaledRows(const Checkpoint& source, const WeightInfo& weight,
                                  uint64_t first_row, uint64_t num_rows, RowBuffers* buffers) {
  const uint64_t offset = weight.tensor->offset + first_row * weight.in_features;
  buffers->source.resize(num_rows * weight.in_features);
  OCTAVO_RETURN_IF_ERROR(source.ReadAt(weight.tensor->file, offset, buffers->source));
  if (weight.scales.form == WeightForm::kCodes)
    return WeightRows{buffers->source.data(), true, offset};
  OCTAVO_RETURN_IF_ERROR(DequantizeFp8(source, weight, first_row, num_rows, buffers));
  return WeightRows{buffers->untangled.data(), true, offset};
}

float ToFloat(const std::byte* data, ElementType type, size_t index) {
  if (type == ElementType::kFloat32) {
    float value;
    std::memcpy(&value, data + index * sizeof(float), sizeof(float));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, data + index * sizeof(uint16_t), sizeof(uint16_t));
  return type == ElementType::kFloat16 ? kernels::HalfToFloat(bits)
                                       : kernels::BFloat16ToFloat(bits);
}

bool OverflowsHalf(float value) {
  return std::isfinite(value) && (kernels::FloatToHalf(value) & 0x7fffu) >= 0x7c00u;
}

// The first element for which `is_bad` holds.
template <typename Predicate>
Result<std::optional<std::pair<uint64_t, float>>> FindFirst(const Checkpoint& source,
                                                            const SourceTensor& tensor,
                                                            Predicate is_bad) {
  const ElementType type = ToElementType(tensor.dtype);
  const uint64_t element = ElementBytes(type);
  std::vector<std::byte> buffer(std::min(tensor.bytes, kScanBytes));
  for (uint64_t done = 0; done < tensor.bytes; done += buffer.size()) {
    const std::span<std::byte> part(buffer.data(),
                                    std::min<uint64_t>(buffer.size(), tensor.bytes - done));
    OCTAVO_RETURN_IF_ERROR(source.ReadAt(tensor.file, tensor.offset + done, part));
    for (size_t i = 0; i < part.size() / element; ++i) {
      const float value = ToFloat(part.data(), type, i);
      if (is_bad(value)) return std::optional(std::pair(done / element + i, value));
    }
  }
  return std::optional<std::pair<uint64_t, float>>();
}

// "[3, 17]" for the flat index 3 * columns + 17.
std::string IndexText(const Shape& shape, uint64_t flat) {
  std::string text = "]";
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    text = (axis > 0 ? ", " : "[") + std::to_string(flat % shape[axis]) + text;
    flat /= shape[axis];
  }
  return text;
}

}  // namespace

ElementType ToElementType(DType dtype) {
  if (dtype == DType::kF16) return ElementType::kFloat16;
  return dtype == DType::kBF16 ? ElementType::kBFloat16 : ElementType::kFloat32;
}

Result<WeightRows> ReadWeightRows(const Checkpoint& source, const WeightInfo& weight,
                                  uint64_t first_row, uint64_t num_rows, RowBuffers* buffers) {
  if (weight.scales.form != WeightForm::kFloat) {
    return ReadScaledRows(source, weight, first_row, num_rows, buffers);
  }
  const uint64_t row_bytes = weight.in_features * ElementBytes(weight.type);
  const uint64_t bytes = num_rows * row_bytes;
  buffers->source.resize(bytes);
  if (!weight.transposed) {
    const uint64_t offset = weight.tensor->offset + first_row * row_bytes;
    OCTAVO_RETURN_IF_ERROR(source.ReadAt(weight.tensor->file, offset, buffers->source));
    return WeightRows{buffers->source.data(), true, offset};
  }
  OCTAVO_RETURN_IF_ERROR(ReadSegments(source, weight, first_row, num_rows, buffers->source.data()));
  buffers->untangled.resize(bytes);
  if (weight.type == ElementType::kFloat32) {
    Transpose(reinterpret_cast<const uint32_t*>(buffers->source.data()), weight.in_features,
              num_rows, reinterpret_cast<uint32_t*>(buffers->untangled.data()));
  } else {
    Transpose(reinterpret_cast<const uint16_t*>(buffers->source.data()), weight.in_features,
              num_rows, reinterpret_cast<uint16_t*>(buffers->untangled.data()));
  }
  return WeightRows{buffers->untangled.data(), false, 0};
}

Result<std::vector<float>> ReadRowScales(const Checkpoint& source, const WeightInfo& weight,
                                         uint64_t first_row, uint64_t num_rows,
                                         RowBuffers* buffers) {
  const SourceTensor& tensor = *weight.scales.tensor;
  const ElementType type = ToElementType(tensor.dtype);
  const uint64_t element = ElementBytes(type);
  buffers->scales.resize(num_rows * element);
  OCTAVO_RETURN_IF_ERROR(
      source.ReadAt(tensor.file, tensor.offset + first_row * element, buffers->scales));
  const bool is_step = weight.scales.convention == format::ScaleConvention::kStep;
  const float smallest = is_step ? 0x1p-126f : 127 * 0x1p-126f;
  std::vector<float> values(num_rows);
  for (uint64_t i = 0; i < num_rows; ++i) {
    values[i] = ToFloat(buffers->scales.data(), type, i);
    const bool is_zero = values[i] == 0 && !std::signbit(values[i]);
    if (is_zero || (std::isfinite(values[i]) && values[i] >= smallest)) continue;
    return Status(ErrorCode::kRefused,
                  source.files()[tensor.file].path + ": tensor \"" + tensor.name +
                      "\": the scale of row " + std::to_string(first_row + i) + " is " +
                      std::to_string(values[i]) + ", which is not finite, negative or too small");
  }
  return values;
}

bool RoundToHalf(const std::byte* rows, ElementType type, size_t count, RowBuffers* buffers) {
  buffers->half.resize(count);
  uint32_t too_large = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint16_t half = kernels::FloatToHalf(ToFloat(rows, type, i));
    too_large |= (half & 0x7fffu) >= 0x7c00u;
    buffers->half[i] = half;
  }
  return too_large == 0;
}

bool RoundToBFloat16(const std::byte* rows, size_t count, RowBuffers* buffers) {
  buffers->half.resize(count);
  uint32_t not_finite = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint16_t bits = kernels::FloatToBFloat16(ToFloat(rows, ElementType::kFloat32, i));
    not_finite |= (bits & 0x7fffu) >= 0x7f80u;
    buffers->half[i] = bits;
  }
  return not_finite == 0;
}

Result<BadValue> FindBadValue(const Checkpoint& source, const SourceTensor& tensor, bool via_fp16) {
  if (!IsQuantizable(tensor.dtype)) {
    return BadValue{false, "a value or its scale is not finite" +
                               std::string(via_fp16 ? ", or their product overflows in fp16" : "")};
  }
  OCTAVO_ASSIGN_OR_RETURN(
      const auto odd, FindFirst(source, tensor, [](float value) { return !std::isfinite(value); }));
  if (odd) {
    const char* what = std::isnan(odd->second) ? "NaN" : odd->second > 0 ? "infinity" : "-infinity";
    return BadValue{false, what + (" at " + IndexText(tensor.shape, odd->first))};
  }
  if (via_fp16) {
    OCTAVO_ASSIGN_OR_RETURN(const auto large, FindFirst(source, tensor, OverflowsHalf));
    if (large) {
      return BadValue{
          true, std::to_string(large->second) + " at " + IndexText(tensor.shape, large->first)};
    }
  }
  return Status(ErrorCode::kNotFound, "tensor \"" + tensor.name + "\": every value is finite");
}

}  // namespace octavo::quant
