#include "libquant/weight_rows.h"

#include <algorithm>
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

Result<BadValue> FindBadValue(const Checkpoint& source, const SourceTensor& tensor, bool via_fp16) {
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
