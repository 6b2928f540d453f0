#include "tools/module_pattern.h"

#include <algorithm>
#include <charconv>

namespace octavo::tools {
namespace {

constexpr size_t kMaxDigits = 9;
constexpr size_t kMaxRanges = 4;
constexpr char kNumber = '\0';

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Where the run of digits that begins at `begin` ends.
size_t EndOfDigits(std::string_view name, size_t begin) {
  size_t end = begin;
  while (end < name.size() && IsDigit(name[end])) ++end;
  return end;
}

bool IsComponent(std::string_view name, size_t begin, size_t end) {
  return (begin == 0 || name[begin - 1] == '.') && (end == name.size() || name[end] == '.');
}

// "0-5, 8, …"
std::string Ranges(const std::set<uint32_t>& numbers) {
  std::string text;
  size_t ranges = 0;
  for (auto it = numbers.begin(); it != numbers.end();) {
    const uint32_t first = *it;
    uint32_t last = first;
    while (++it != numbers.end() && *it == last + 1) last = *it;
    if (ranges++ > 0) text += ", ";
    if (ranges > kMaxRanges) return text + "…";
    text += std::to_string(first);
    if (last > first) text += (last == first + 1 ? ", " : "-") + std::to_string(last);
  }
  return text;
}

// The word at the end: "layers" of "model.layers.", "expert" of "mlp.expert_".
std::string_view LastWord(std::string_view text) {
  while (!text.empty() && (text.back() == '.' || text.back() == '_')) text.remove_suffix(1);
  return text.substr(std::min(text.find_last_of(std::string_view(".\0", 2)) + 1, text.size()));
}

}  // namespace

void NumberedName::Take(std::string_view name, bool within) {
  pattern.clear();
  numbers.clear();
  for (size_t at = 0; at < name.size();) {
    const size_t end = EndOfDigits(name, at);
    if (end == at) {
      pattern += name[at++];
      continue;
    }
    if (end - at <= kMaxDigits && (within || IsComponent(name, at, end))) {
      pattern += kNumber;
      numbers.push_back(name.substr(at, end - at));
    } else {
      pattern += name.substr(at, end - at);
    }
    at = end;
  }
}

void NumberSets::Add(const NumberedName& name) {
  if (first_.empty()) {
    pattern_ = name.pattern;
    first_.assign(name.numbers.begin(), name.numbers.end());
    sets_.resize(first_.size());
  }
  for (size_t i = 0; i < std::min(sets_.size(), name.numbers.size()); ++i) {
    uint32_t number = 0;
    const std::string_view digits = name.numbers[i];
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    sets_[i].insert(number);
  }
}

std::string NumberSets::Pattern() const {
  std::string text;
  size_t number = 0;
  for (const char c : pattern_) {
    if (c != kNumber || number == sets_.size()) {
      text += c;
      continue;
    }
    text += sets_[number].size() > 1 ? "*" : first_[number];
    ++number;
  }
  return text;
}

std::string NumberSets::Describe() const {
  std::string text;
  size_t at = 0;
  for (const std::set<uint32_t>& numbers : sets_) {
    at = pattern_.find(kNumber, at);
    const std::string_view word = LastWord(std::string_view(pattern_).substr(0, at));
    ++at;
    if (numbers.size() < 2) continue;
    if (!text.empty()) text += "; ";
    if (!word.empty()) text += std::string(word) + " ";
    text += Ranges(numbers);
  }
  return text;
}

}  // namespace octavo::tools
