#include "tools/text.h"

#include <cerrno>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace octavo::tools {
namespace {

int stdout_error = 0;  // errno of the last write that failed

}  // namespace

std::string Format(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  std::string text(length < 0 ? 0 : static_cast<size_t>(length), '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, again);
  va_end(again);
  return text;
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"KB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1000) return Format("%llu B", static_cast<unsigned long long>(bytes));
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  // 999.95 would print as 1000.0.
  while (value >= 999.95 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return Format(value < 10 ? "%.2f %s" : "%.1f %s", value, kUnits[unit]);
}

std::string FormatCount(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string FormatSeconds(double seconds) {
  if (seconds < 1) return Format("%.2f ms", seconds * 1e3);
  if (seconds < 99.95) return Format("%.1f s", seconds);
  const auto whole = static_cast<unsigned long long>(std::llround(seconds));
  if (whole < 3600) return Format("%llu min %llu s", whole / 60, whole % 60);
  return Format("%llu h %llu min", whole / 3600, whole % 3600 / 60);
}

std::string FormatNumber(double value) {
  for (int digits = 1; digits < 9; ++digits) {
    std::string text = Format("%.*g", digits, value);
    if (std::strtof(text.c_str(), nullptr) == static_cast<float>(value)) return text;
  }
  return Format("%.9g", value);
}

std::string FormatShare(uint64_t part, uint64_t whole) {
  if (whole == 0) return "0 %";
  const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  return Format(percent < 10 ? "%.2f %%" : "%.1f %%", percent);
}

std::string Plural(uint64_t count, std::string_view noun) {
  return FormatCount(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

Result<uint64_t> ParseByteSize(std::string_view text) {
  static constexpr struct {
    std::string_view name;
    double factor;
  } kUnits[] = {{"", 1},         {"B", 1},       {"KB", 1e3},     {"MB", 1e6},
                {"GB", 1e9},     {"TB", 1e12},   {"KiB", 1024.0}, {"MiB", 1048576.0},
                {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  const Status malformed(ErrorCode::kInvalidArgument,
                         "\"" + std::string(text) + "\" is not a size such as 5GB, 500MB or 2GiB");
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string_view unit = text.substr(digits);
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  const std::string number(text.substr(0, digits));
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0') return malformed;
  for (const auto& known : kUnits) {
    if (unit != known.name) continue;
    const double bytes = std::floor(value * known.factor);
    if (!(bytes >= 1) || bytes >= 0x1p63) return malformed;
    return static_cast<uint64_t>(bytes);
  }
  return malformed;
}

void Print(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) stdout_error = errno;
}

Status FlushStdout() {
  errno = 0;
  if (std::fflush(stdout) != 0) stdout_error = errno;
  if (stdout_error == 0 || stdout_error == EPIPE) return Status();
  return Status(ErrorCode::kIo, std::string("standard output: ") + std::strerror(stdout_error));
}

void PrintError(std::string_view sentence) {
  const std::string line = "octavo: " + Escaped(sentence) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void PrintWarning(std::string_view sentence) { PrintError("warning: " + std::string(sentence)); }

}  // namespace octavo::tools
