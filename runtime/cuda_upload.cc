#include "runtime/cuda_upload.h"

#include <array>
#include <memory>
#include <vector>

#include "runtime/cuda_memory.h"
#include "runtime/default_pool.h"
#include "runtime/state.h"

namespace octavo {
namespace {

// The pieces of one allocation: first their sizes, then their places.
class DeviceLayout {
 public:
  using PieceIdx = size_t;

  // A matrix whose rows are `device_stride` bytes apart on the device.
  PieceIdx AddRows(const void* host, size_t rows, size_t row_bytes, size_t device_stride) {
    if (host == nullptr || rows == 0 || device_stride == 0) return kNone;
    pieces_[count_] = {host, rows, row_bytes, row_bytes, nullptr, device_stride};
    offsets_[count_] = bytes_;
    size_t piece_bytes = 0;
    if (__builtin_mul_overflow(rows, device_stride, &piece_bytes) ||
        __builtin_add_overflow(bytes_, piece_bytes, &bytes_) ||
        __builtin_add_overflow(bytes_, kCudaAlignment - 1, &bytes_)) {
      bytes_ = SIZE_MAX;
    } else {
      bytes_ = bytes_ / kCudaAlignment * kCudaAlignment;
    }
    return count_++;
  }
  PieceIdx Add(const void* host, size_t bytes) { return AddRows(host, 1, bytes, bytes); }

  // SIZE_MAX where no address space could hold it.
  size_t bytes() const { return bytes_; }

  void PlaceAt(void* memory) {
    for (size_t i = 0; i < count_; ++i)
      pieces_[i].device = static_cast<std::byte*>(memory) + offsets_[i];
  }

  // Null for a piece without bytes.
  template <typename T>
  const T* At(PieceIdx piece) const {
    return piece == kNone ? nullptr : static_cast<const T*>(pieces_[piece].device);
  }

  std::span<const kernels::CudaUpload> pieces() const { return {pieces_.data(), count_}; }

 private:
  static constexpr PieceIdx kNone = SIZE_MAX;
  static constexpr size_t kMostPieces = 8;
  std::array<kernels::CudaUpload, kMostPieces> pieces_;
  std::array<size_t, kMostPieces> offsets_ = {};
  size_t count_ = 0;
  size_t bytes_ = 0;
};

std::vector<uint64_t> KeptMask(const kernels::LinearView& view) {
  std::vector<uint64_t> mask(view.num_kept == 0 ? 0
                                                : kernels::CudaCodeStride(view.in_features) / 64);
  for (size_t i = 0; i < view.num_kept; ++i) {
    const auto k = static_cast<size_t>(view.kept_index[i]);
    mask[k / 64] |= uint64_t{1} << (k % 64);
  }
  return mask;
}

// The sizes that calls are checked against; the host's memory is no longer this linear's.
void KeepSizesOnly(PreparedLinear::State* state) {
  kernels::LinearView sizes;
  sizes.out_features = state->view.out_features;
  sizes.in_features = state->view.in_features;
  sizes.num_kept = state->view.num_kept;
  state->view = sizes;
  state->owned.clear();
}

}  // namespace

Status UploadLinear(const kernels::CudaTable& table, PreparedLinear::State* state) {
  const kernels::LinearView& view = state->view;
  const std::vector<uint64_t> kept_mask = KeptMask(view);
  const int32_t device = state->device.index;
  const size_t out = view.out_features, in = view.in_features, kept = view.num_kept;

  DeviceLayout layout;
  const auto codes = layout.AddRows(view.codes, out, in, kernels::CudaCodeStride(in));
  const auto multiplier = layout.Add(view.multiplier, out * sizeof(float));
  const auto code_sum = layout.Add(view.code_sum, out * sizeof(int32_t));
  const auto zero_point = layout.Add(view.zero_point, out * sizeof(int32_t));
  const auto bias = layout.Add(view.bias, out * kernels::ElementBytes(view.bias_type));
  const auto index = layout.Add(view.kept_index, kept * sizeof(int32_t));
  const auto mask = layout.Add(kept_mask.data(), kept_mask.size() * sizeof(uint64_t));
  const auto weight =
      layout.Add(view.kept_weight, kept * out * kernels::ElementBytes(view.kept_type));
  if (layout.bytes() != 0) {
    void* memory = nullptr;
    OCTAVO_RETURN_IF_ERROR(ToStatus(table, table.allocate(device, layout.bytes(), &memory)));
    state->device_memory = std::make_shared<CudaMemory>(table, device, memory, layout.bytes());
    layout.PlaceAt(memory);
    OCTAVO_RETURN_IF_ERROR(
        ToStatus(table, table.upload(device, layout.pieces().data(), layout.pieces().size(),
                                     DefaultParallelFor())));
  }
  state->cuda = {
      .out_features = out,
      .in_features = in,
      .codes = layout.At<int8_t>(codes),
      .multiplier = layout.At<float>(multiplier),
      .code_sum = layout.At<int32_t>(code_sum),
      .zero_point = layout.At<int32_t>(zero_point),
      .kept = {kept, layout.At<int32_t>(index), layout.At<uint64_t>(mask)},
      .kept_weight = layout.At<void>(weight),
      .kept_type = view.kept_type,
      .bias = layout.At<void>(bias),
      .bias_type = view.bias_type,
  };
  KeepSizesOnly(state);
  return {};
}

Status ToStatus(const kernels::CudaTable& table, kernels::CudaStatus status) {
  switch (status) {
    case kernels::CudaStatus::kOk:
      return {};
    case kernels::CudaStatus::kInvalidArgument:
    case kernels::CudaStatus::kWorkspaceTooSmall:
      return {ErrorCode::kInvalidArgument, table.last_error()};
    case kernels::CudaStatus::kUnsupported:
      return {ErrorCode::kUnsupported, table.last_error()};
    case kernels::CudaStatus::kOutOfMemory:
      return {ErrorCode::kLimit, table.last_error()};
    case kernels::CudaStatus::kFailed:
      break;
  }
  return {ErrorCode::kIo, table.last_error()};
}

}  // namespace octavo
