// Memory that notices what it should not be used for: a read or write past the end faults at once
// (an inaccessible page follows), and what was written before the start is found by Intact().
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

namespace octavo::testing {

class GuardedBuffer {
 public:
  // `bytes` ends at the inaccessible page, or just before it by less than `alignment`.
  explicit GuardedBuffer(size_t bytes, size_t alignment = 1) : bytes_(bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t usable = (bytes + kFront + alignment + page - 1) / page * page;
    mapped_bytes_ = usable + page;
    void* mapped =
        mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<unsigned char*>(mapped);
    mprotect(base_ + usable, page, PROT_NONE);
    data_ = base_ + (usable - bytes) / alignment * alignment;
    tail_ = base_ + usable;
    std::memset(base_, kPaint, usable);
  }
  ~GuardedBuffer() { munmap(base_, mapped_bytes_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  static constexpr unsigned char kPaint = 0xa5;

  unsigned char* data() { return data_; }
  size_t size() const { return bytes_; }
  // Nothing was written around the buffer.
  bool Intact() const {
    const auto painted = [](unsigned char byte) { return byte == kPaint; };
    return std::all_of(static_cast<const unsigned char*>(base_),
                       static_cast<const unsigned char*>(data_), painted) &&
           std::all_of(static_cast<const unsigned char*>(data_) + bytes_,
                       static_cast<const unsigned char*>(tail_), painted);
  }

 private:
  static constexpr size_t kFront = 64;
  unsigned char* base_ = nullptr;
  unsigned char* data_ = nullptr;
  unsigned char* tail_ = nullptr;
  size_t bytes_ = 0;
  size_t mapped_bytes_ = 0;
};

}  // namespace octavo::testing
