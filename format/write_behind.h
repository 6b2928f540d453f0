// Writing a large file from front to back: the disk works from the first megabytes on, and little
// is left to do for the fsync at the end.
#pragma once

#include <cstdint>
#include <mutex>

namespace octavo::format {

// Works in windows of 8 MiB. Writes may come in any order, as long as they move forward together;
// at most about 32 MiB wait for the disk, then a writer does. Thread-safe.
class WriteBehind {
 public:
  // Bytes up to `end` are written into `fd`. An errno, if the system could not bring earlier ones
  // to the disk: the fsync at the end might not say so again. Else 0.
  int Wrote(int fd, uint64_t end, bool drops_written);

 private:
  std::mutex mutex_;
  uint64_t begun_ = 0;  // windows on their way to the disk
};

}  // namespace octavo::format
