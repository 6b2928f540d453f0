#include "tools/module_pattern.h"

#include <charconv>
#include <utility>

namespace octavo::tools {
namespace {

constexpr size_t kMaxDigits = 9;
constexpr size_t kMaxRanges = 4;

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

// The word before a number: "layers" of "model.layers.", "expert" of "mlp.expert_".
std::string Word(std::string_view text) {
  while (!text.empty() && (text.back() == '.' || text.back() == '_')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('.') + 1));
}

}  // namespace

std::string NumberedName::Key() const {
  std::string key;
  for (const std::string& text : texts) key += text + '\0';
  return key;
}

NumberedName TakeNumbersOut(std::string_view name, bool within) {
  NumberedName result;
  std::string text;
  for (size_t at = 0; at < name.size();) {
    const size_t end = EndOfDigits(name, at);
    const bool is_number =
        end > at && end - at <= kMaxDigits && (within || IsComponent(name, at, end));
    if (is_number) {
      result.texts.push_back(std::exchange(text, {}));
      result.numbers.emplace_back(name.substr(at, end - at));
    } else {
      text += name.substr(at, end > at ? end - at : 1);
    }
    at = end > at ? end : at + 1;
  }
  result.texts.push_back(text);
  return result;
}

void NumberSets::Add(const NumberedName& name) {
  if (texts_.empty()) {
    texts_ = name.texts;
    first_ = name.numbers;
    sets_.resize(first_.size());
  }
  for (size_t i = 0; i < sets_.size(); ++i) {
    uint32_t number = 0;
    const std::string& digits = name.numbers[i];
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    sets_[i].insert(number);
  }
}

std::string NumberSets::Pattern() const {
  std::string pattern = texts_[0];
  for (size_t i = 0; i < sets_.size(); ++i) {
    pattern += (sets_[i].size() > 1 ? "*" : first_[i]) + texts_[i + 1];
  }
  return pattern;
}

std::string NumberSets::Describe() const {
  std::string text;
  for (size_t i = 0; i < sets_.size(); ++i) {
    if (sets_[i].size() < 2) continue;
    const std::string word = Word(texts_[i]);
    if (!text.empty()) text += "; ";
    text += (word.empty() ? "" : word + " ") + Ranges(sets_[i]);
  }
  return text;
}

}  // namespace octavo::tools
