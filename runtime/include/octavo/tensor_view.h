// A matrix in somebody else's memory: [rows, columns], row-major, rows row_stride elements apart.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include "octavo/device.h"
#include "octavo/dtype.h"

namespace octavo {

// Non-owning; the memory must outlive every use. Data: void (writable) or const void.
template <typename Data>
struct BasicTensorView {
  Data* data = nullptr;
  DType dtype = DType::kF16;  // kF16, kBF16 or kF32
  Device device;
  int64_t rows = 0;        // tokens
  int64_t columns = 0;     // features
  int64_t row_stride = 0;  // elements; at least columns where rows > 1

  BasicTensorView() = default;
  BasicTensorView(Data* data_, DType dtype_, int64_t rows_, int64_t columns_)
      : data(data_), dtype(dtype_), rows(rows_), columns(columns_), row_stride(columns_) {}
  BasicTensorView(Data* data_, DType dtype_, int64_t rows_, int64_t columns_, int64_t row_stride_,
                  Device device_ = kCpuDevice)
      : data(data_),
        dtype(dtype_),
        device(device_),
        rows(rows_),
        columns(columns_),
        row_stride(row_stride_) {}
  // A writable view is a readable one.
  template <typename Other>
  requires(std::is_const_v<Data>&& std::same_as<Other, std::remove_const_t<Data>>)
      BasicTensorView(const BasicTensorView<Other>& other)  // NOLINT(google-explicit-constructor)
      : data(other.data),
        dtype(other.dtype),
        device(other.device),
        rows(other.rows),
        columns(other.columns),
        row_stride(other.row_stride) {}
};

using TensorView = BasicTensorView<void>;
using ConstTensorView = BasicTensorView<const void>;

}  // namespace octavo
