// Counts bytes and calls the caller back, seldom enough not to cost anything.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "octavo/convert.h"

namespace octavo::quant {

// Single thread at a time.
class ProgressMeter {
 public:
  ProgressMeter(const ProgressCallback& callback, uint64_t bytes_total)
      : callback_(callback), bytes_total_(bytes_total) {}

  uint64_t bytes_total() const { return bytes_total_; }
  uint64_t bytes_done() const { return bytes_done_; }
  // So many were done by an earlier run.
  void SetDone(uint64_t bytes) { bytes_done_ = bytes; }
  // Of what is to come only `bytes` are done here.
  void SetRest(uint64_t bytes) { bytes_total_ = bytes_done_ + bytes; }
  // `bytes` more are done. Calls back at the first call, at the last byte, and every tenth of a
  // second between. Errors: kCancelled.
  Status Add(uint64_t bytes, const std::string& tensor) {
    bytes_done_ += bytes;
    const auto now = std::chrono::steady_clock::now();
    const bool is_due = last_ == std::chrono::steady_clock::time_point() ||
                        now - last_ >= std::chrono::milliseconds(100) ||
                        bytes_done_ >= bytes_total_;
    if (!callback_ || !is_due) return {};
    last_ = now;
    if (callback_({bytes_done_, bytes_total_, &tensor})) return {};
    return Status(ErrorCode::kCancelled, "cancelled");
  }

 private:
  const ProgressCallback& callback_;
  uint64_t bytes_total_;
  uint64_t bytes_done_ = 0;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace octavo::quant
