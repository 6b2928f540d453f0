#include "tools/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "tools/text.h"

namespace octavo::tools {
namespace {

size_t TerminalColumns() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string Clock(double seconds) {
  const auto whole = static_cast<unsigned long long>(seconds + 0.5);
  if (whole < 3600) return Format("%llu:%02llu", whole / 60, whole % 60);
  return Format("%llu:%02llu:%02llu", whole / 3600, whole % 3600 / 60, whole % 60);
}

std::string Describe(uint64_t done, uint64_t total, double elapsed, std::string_view label) {
  const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
  std::string text = Format("%3d %%  %s of %s", static_cast<int>(share * 100),
                            FormatBytes(done).c_str(), FormatBytes(total).c_str());
  if (done > 0 && elapsed > 0.2) {
    const double rate = static_cast<double>(done) / elapsed;
    text += "  " + FormatBytes(static_cast<uint64_t>(rate)) + "/s";
    text += "  " + Clock(static_cast<double>(total - done) / rate) + " left";
  }
  if (!label.empty()) text += "  " + Escaped(label);
  return text;
}

}  // namespace

ProgressLine::ProgressLine(ProgressMode mode)
    : terminal_(isatty(STDERR_FILENO) == 1),
      enabled_(mode == ProgressMode::kAlways || (mode == ProgressMode::kAuto && terminal_)) {}

ProgressLine::~ProgressLine() {
  if (drawn_ && terminal_) std::fputs("\r\x1b[K", stderr);
}

void ProgressLine::Update(uint64_t bytes_done, uint64_t bytes_total, std::string_view label) {
  if (!enabled_) return;
  const auto now = Clock::now();
  const bool finished = bytes_done >= bytes_total;
  const auto interval = std::chrono::milliseconds(terminal_ ? 100 : 1000);
  if (drawn_ && !finished && now - last_ < interval) return;
  last_ = now;
  drawn_ = true;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  std::string line = Describe(std::min(bytes_done, bytes_total), bytes_total, elapsed, label);
  if (terminal_) {
    // One column short of the edge, so that no terminal wraps. A cut label may end inside a
    // character.
    line = line.substr(0, TerminalColumns() - 1);
    while (!line.empty() && (line.back() & 0x80)) line.pop_back();
    line = "\r" + line + "\x1b[K";
  } else {
    line += "\n";
  }
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace octavo::tools
