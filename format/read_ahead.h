// Reading a large file once, from front to back: what comes next is fetched while the rest is
// worked on, and what is done with leaves the page cache again. Hints for the system alone: what is
// read never depends on them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace octavo::format {

// Works in windows of 8 MiB, 32 MiB ahead. Thread-safe after Start.
//
// Pages that were in the page cache before are somebody's: they stay. Which those are is asked for
// (mincore) when a window is first announced; the system's own reading ahead is switched off, so
// that it does not blur the answer.
class ReadAhead {
 public:
  // `fd` stays open while this is used. drops_read: whether Release drops anything. Where the
  // system gives no memory, nothing is fetched ahead. Called again: the file is read from the front
  // once more.
  void Start(int fd, uint64_t file_bytes, bool drops_read);
  // Bytes [offset, offset + bytes) are read next.
  void Announce(uint64_t offset, uint64_t bytes);
  // Bytes before `offset` are not read again.
  void Release(uint64_t offset);

 private:
  // kOurs: not fetched in this pass, and not there before the first.
  enum State : uint8_t { kUntouched, kOurs, kOfOthers, kFetched };

  void Fetch(size_t window);

  int fd_ = -1;
  uint64_t file_bytes_ = 0;
  bool drops_read_ = false;
  size_t num_windows_ = 0;  // 0: not started
  std::unique_ptr<std::atomic<uint8_t>[]> states_;
  std::atomic<size_t> released_ = 0;  // windows
};

}  // namespace octavo::format
