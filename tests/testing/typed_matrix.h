// A matrix in fp16, bf16 or fp32 in guarded, strided memory, with its exact float values beside it.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/reference/llm_int8.h"
#include "octavo/half.h"
#include "octavo/kernels.h"
#include "tests/testing/guarded_buffer.h"

namespace octavo::testing {

inline float LoadElement(const unsigned char* data, kernels::ElementType type) {
  uint16_t half = 0;
  float value = 0;
  if (type == kernels::ElementType::kFloat32) {
    std::memcpy(&value, data, sizeof(value));
    return value;
  }
  std::memcpy(&half, data, sizeof(half));
  return type == kernels::ElementType::kFloat16 ? kernels::HalfToFloat(half)
                                                : kernels::BFloat16ToFloat(half);
}

inline void StoreElement(float value, kernels::ElementType type, unsigned char* data) {
  if (type == kernels::ElementType::kFloat32) {
    std::memcpy(data, &value, sizeof(value));
    return;
  }
  const uint16_t half = type == kernels::ElementType::kFloat16 ? kernels::FloatToHalf(value)
                                                               : kernels::FloatToBFloat16(value);
  std::memcpy(data, &half, sizeof(half));
}

inline float RoundTo(float value, kernels::ElementType type) {
  unsigned char bytes[4];
  StoreElement(value, type, bytes);
  return LoadElement(bytes, type);
}

inline const char* NameOf(kernels::ElementType type) {
  const char* names[] = {"fp16", "bf16", "fp32"};
  return names[static_cast<int>(type)];
}

// Rows `stride` elements apart; the last one ends where the guarded memory ends.
class TypedMatrix {
 public:
  TypedMatrix(size_t rows, size_t cols, kernels::ElementType type, size_t extra_stride = 0)
      : rows_(rows),
        cols_(cols),
        stride_(cols + extra_stride),
        type_(type),
        buffer_(std::make_unique<GuardedBuffer>(
            (rows == 0 ? 0 : (rows - 1) * stride_ + cols) * kernels::ElementBytes(type),
            kernels::ElementBytes(type))) {}
  TypedMatrix(const reference::Matrix& values, kernels::ElementType type, size_t extra_stride = 0)
      : TypedMatrix(values.rows, values.cols, type, extra_stride) {
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t c = 0; c < cols_; ++c) StoreElement(values.at(r, c), type, at(r, c));
    }
  }

  unsigned char* at(size_t row, size_t col) {
    return buffer_->data() + (row * stride_ + col) * kernels::ElementBytes(type_);
  }
  void* data() { return buffer_->data(); }
  size_t stride() const { return stride_; }
  kernels::ElementType type() const { return type_; }

  reference::Matrix values() {
    reference::Matrix out(rows_, cols_);
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t c = 0; c < cols_; ++c) out.at(r, c) = LoadElement(at(r, c), type_);
    }
    return out;
  }

  // Nothing was written around the matrix or between its rows.
  bool Intact() {
    for (size_t r = 0; r + 1 < rows_; ++r) {
      for (const unsigned char* p = at(r, cols_); p != at(r + 1, 0); ++p) {
        if (*p != GuardedBuffer::kPaint) return false;
      }
    }
    return buffer_->Intact();
  }

 private:
  size_t rows_, cols_, stride_;
  kernels::ElementType type_;
  std::unique_ptr<GuardedBuffer> buffer_;
};

}  // namespace octavo::testing
