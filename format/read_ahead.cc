#include "format/read_ahead.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <vector>

namespace octavo::format {
namespace {

constexpr uint64_t kWindowBytes = uint64_t{8} << 20;
constexpr size_t kWindowsAhead = 4;

// Whether most of the range is in the page cache. The system says yes for a file that the user may
// not write, whose pages so are left alone.
bool IsCached(int fd, uint64_t offset, size_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) return true;
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((bytes + page_bytes - 1) / page_bytes);
  const bool is_known = mincore(address, bytes, pages.data()) == 0;
  munmap(address, bytes);
  const auto cached = std::ranges::count_if(pages, [](unsigned char page) { return page & 1; });
  return !is_known || 2 * static_cast<size_t>(cached) > pages.size();
}

}  // namespace

void ReadAhead::Start(int fd, uint64_t file_bytes, bool drops_read) {
  drops_read_ = drops_read;
  released_ = 0;
  for (size_t window = 0; window < num_windows_; ++window) {
    if (states_[window] == kFetched) states_[window] = kOurs;
  }
  if (num_windows_ > 0) return;
  const size_t num_windows = static_cast<size_t>((file_bytes + kWindowBytes - 1) / kWindowBytes);
  states_.reset(new (std::nothrow) std::atomic<uint8_t>[num_windows]());
  if (states_ == nullptr) return;
  fd_ = fd;
  file_bytes_ = file_bytes;
  num_windows_ = num_windows;
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
}

void ReadAhead::Announce(uint64_t offset, uint64_t bytes) {
  if (bytes == 0) return;
  const size_t end = static_cast<size_t>((offset + bytes - 1) / kWindowBytes) + 1 + kWindowsAhead;
  for (size_t window = offset / kWindowBytes; window < std::min(end, num_windows_); ++window) {
    if (states_[window].load(std::memory_order_relaxed) <= kOurs) Fetch(window);
  }
}

void ReadAhead::Fetch(size_t window) {
  uint8_t before = states_[window];
  if (before > kOurs || !states_[window].compare_exchange_strong(before, kOfOthers)) return;
  const uint64_t offset = window * kWindowBytes;
  const uint64_t bytes = std::min(kWindowBytes, file_bytes_ - offset);
  const bool is_of_others =
      before == kUntouched && drops_read_ && IsCached(fd_, offset, static_cast<size_t>(bytes));
  posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
  if (!is_of_others) states_[window] = kFetched;
}

void ReadAhead::Release(uint64_t offset) {
  if (num_windows_ == 0 || !drops_read_) return;
  const size_t end =
      offset >= file_bytes_ ? num_windows_ : static_cast<size_t>(offset / kWindowBytes);
  for (size_t window = released_; window < end; window = released_) {
    if (!released_.compare_exchange_strong(window, window + 1)) continue;
    if (states_[window] != kFetched) continue;
    const uint64_t begin = window * kWindowBytes;
    posix_fadvise(fd_, static_cast<off_t>(begin),
                  static_cast<off_t>(std::min(kWindowBytes, file_bytes_ - begin)),
                  POSIX_FADV_DONTNEED);
  }
}

}  // namespace octavo::format
