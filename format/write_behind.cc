#include "format/write_behind.h"

#include <fcntl.h>

#include <cerrno>

namespace octavo::format {
namespace {

constexpr uint64_t kWindowBytes = uint64_t{8} << 20;
constexpr uint64_t kWindowsUnderWay = 4;

// Only what fsync would report counts: a file system that cannot do this is no fault.
int Errno(int result) {
  const bool is_fault = result != 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT);
  return is_fault ? errno : 0;
}

}  // namespace

int WriteBehind::Wrote(int fd, uint64_t end, bool drops_written) {
  // The last whole window may still lack what other threads write.
  const uint64_t ready = end / kWindowBytes;
  uint64_t window = 0;
  {
    const std::lock_guard lock(mutex_);
    if (begun_ + 1 >= ready) return 0;
    window = begun_++;
  }
  const auto offset = [](uint64_t number) { return static_cast<off64_t>(number * kWindowBytes); };
  constexpr off64_t kBytes = kWindowBytes;
  int error = Errno(sync_file_range(fd, offset(window), kBytes, SYNC_FILE_RANGE_WRITE));
  if (error != 0 || window < kWindowsUnderWay) return error;
  const uint64_t oldest = window - kWindowsUnderWay;
  error = Errno(sync_file_range(
      fd, offset(oldest), kBytes,
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
  if (error == 0 && drops_written) posix_fadvise(fd, offset(oldest), kBytes, POSIX_FADV_DONTNEED);
  return error;
}

}  // namespace octavo::format
