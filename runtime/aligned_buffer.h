// Memory of our own, aligned as the kernels want it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "octavo/result.h"

namespace octavo {

inline constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

// Owns `bytes` bytes, uninitialized. Move-only; may be empty.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  // Errors: kLimit. Sizes come from files and callers, so that failure is a value here.
  static Result<AlignedBuffer> Allocate(size_t bytes) {
    AlignedBuffer buffer;
    if (bytes == 0) return buffer;
    void* memory = bytes > PTRDIFF_MAX
                       ? nullptr
                       : ::operator new (bytes, std::align_val_t{kAlignment}, std::nothrow);
    if (memory == nullptr) {
      return Status(ErrorCode::kLimit, "cannot allocate " + std::to_string(bytes) + " bytes");
    }
    buffer.memory_.reset(static_cast<std::byte*>(memory));
    buffer.bytes_ = bytes;
    return buffer;
  }

  size_t bytes() const { return bytes_; }
  std::span<std::byte> span() const { return {memory_.get(), bytes_}; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const {
      ::operator delete (memory, std::align_val_t{kAlignment});
    }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t bytes_ = 0;
};

}  // namespace octavo
