// Memory of our own, aligned as the kernels want it.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "octavo/result.h"

namespace octavo {

inline constexpr size_t kAlignment = 64;  // a cache line, and the widest vector
// A large page of x86-64 and of most others.
inline constexpr size_t kLargePage = size_t{2} << 20;

// Owns `bytes` bytes, uninitialized. Move-only; may be empty. Large ones ask the system for large
// pages: weights are gone through from end to end for each token, and a page is looked up, and at
// first use zeroed, 512 times as seldom.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  // Errors: kLimit. Sizes come from files and callers, so that failure is a value here.
  static Result<AlignedBuffer> Allocate(size_t bytes) {
    AlignedBuffer buffer;
    if (bytes == 0) return buffer;
    const bool is_large = bytes >= kLargePage;
    const std::align_val_t alignment{is_large ? kLargePage : kAlignment};
    void* memory = bytes > PTRDIFF_MAX ? nullptr : ::operator new(bytes, alignment, std::nothrow);
    if (memory == nullptr) {
      return Status(ErrorCode::kLimit, "cannot allocate " + std::to_string(bytes) + " bytes");
    }
#ifdef __linux__
    // Whole pages, so that nobody else's memory is meant. Advice: what the system makes of it is
    // fine.
    if (is_large) madvise(memory, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
#endif
    buffer.memory_ = {static_cast<std::byte*>(memory), Free{alignment}};
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
    std::align_val_t alignment;
    void operator()(std::byte* memory) const { ::operator delete(memory, alignment); }
  };
  std::unique_ptr<std::byte, Free> memory_{nullptr, Free{std::align_val_t{kAlignment}}};
  size_t bytes_ = 0;
};

}  // namespace octavo
