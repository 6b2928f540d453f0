// Cuts a caller's workspace into aligned pieces. With no memory it only counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::cuda {

inline constexpr size_t kPieceAlignment = 256;

class Carver {
 public:
  explicit Carver(void* memory) : base_(static_cast<unsigned char*>(memory)) {}

  // `count` elements of T, times `factor`.
  template <class T>
  void Take(T** piece, size_t count, size_t factor = 1) {
    if (base_ != nullptr) *piece = reinterpret_cast<T*>(base_ + used_);
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, factor, &bytes) ||
        __builtin_mul_overflow(bytes, sizeof(T), &bytes) ||
        __builtin_add_overflow(bytes, kPieceAlignment - 1, &bytes) ||
        __builtin_add_overflow(used_, bytes / kPieceAlignment * kPieceAlignment, &used_)) {
      used_ = SIZE_MAX;
    }
  }
  size_t bytes() const { return used_; }  // SIZE_MAX: more than any memory has

 private:
  unsigned char* base_ = nullptr;
  size_t used_ = 0;
};

}  // namespace octavo::cuda
