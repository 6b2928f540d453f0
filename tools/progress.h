// One line on standard error that says how far long work is, how fast it goes, and when it ends.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace octavo::tools {

enum class ProgressMode {
  kAuto,    // on a terminal only
  kAlways,  // also where standard error is a file or a pipe: one line a second
  kNever,
};

// Erases its line when destroyed. Single thread at a time.
class ProgressLine {
 public:
  explicit ProgressLine(ProgressMode mode);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // `label`: what is being worked on; may be empty.
  void Update(uint64_t bytes_done, uint64_t bytes_total, std::string_view label);

 private:
  using Clock = std::chrono::steady_clock;

  bool terminal_ = false;
  bool enabled_ = false;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_{};
};

}  // namespace octavo::tools
