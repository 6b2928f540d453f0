#include "pre_tokenizer.h"

#include <algorithm>
#include <cstdint>
#include <span>

namespace generate {
namespace {

struct Range {
  char32_t first, last;
};
#include "unicode_tables.inc"

bool IsIn(std::span<const Range> ranges, char32_t point) {
  const auto above = std::upper_bound(ranges.begin(), ranges.end(), point,
                                      [](char32_t p, const Range& r) { return p < r.first; });
  return above != ranges.begin() && point <= above[-1].last;
}

enum class Class : uint8_t { kOther, kLetter, kNumber, kSpace, kEnd };

struct Character {
  char32_t point = 0;
  Class kind = Class::kEnd;
  size_t offset = 0;  // of its first byte
};

// The character at `offset`, and how many bytes it has; a byte that begins no UTF-8 is a character.
char32_t Decode(std::string_view text, size_t offset, size_t* bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[offset + i]); };
  const uint8_t lead = at(0);
  const size_t length = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
  *bytes = 1;
  if (length == 1) return lead < 0x80 ? lead : U'\ufffd';
  if (offset + length > text.size()) return U'\ufffd';
  char32_t point = lead & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return U'\ufffd';
    point = point << 6 | (at(i) & 0x3f);
  }
  *bytes = length;
  return point;
}

// The characters of a text, and one of kind kEnd behind them.
std::vector<Character> Characters(std::string_view text) {
  std::vector<Character> characters;
  for (size_t offset = 0, bytes = 0; offset < text.size(); offset += bytes) {
    const char32_t point = Decode(text, offset, &bytes);
    const Class kind = IsIn(kLetters, point)   ? Class::kLetter
                       : IsIn(kNumbers, point) ? Class::kNumber
                       : IsIn(kSpaces, point)  ? Class::kSpace
                                               : Class::kOther;
    characters.push_back({point, kind, offset});
  }
  characters.push_back({0, Class::kEnd, text.size()});
  return characters;
}

// Finds how far the expression matches from a character on. Each function is one alternative of
// it: the index behind the match, or `i` where it does not match.
class Matcher {
 public:
  Matcher(const std::vector<Character>& characters, SplitRule rule)
      : at_(characters), rule_(rule) {}

  // Requires: a character at i.
  size_t Match(size_t i) const {
    if (rule_ == SplitRule::kDigits || rule_ == SplitRule::kDigitRuns) return NumbersOrNot(i);
    const bool is_gpt2 = rule_ == SplitRule::kGpt2;
    if (const size_t end = Contraction(i); end > i) return end;
    if (const size_t end = is_gpt2 ? SpaceAndRun(i, Class::kLetter) : Word(i); end > i) return end;
    if (const size_t end = is_gpt2 ? SpaceAndRun(i, Class::kNumber) : Numbers(i); end > i)
      return end;
    if (const size_t end = SpaceAndRun(i, Class::kOther); end > i)
      return is_gpt2 ? end : NewLines(end);
    return Spaces(i);
  }

 private:
  size_t Run(size_t i, Class kind) const {
    while (at_[i].kind == kind) ++i;
    return i;
  }
  static bool IsNewLine(char32_t point) { return point == '\r' || point == '\n'; }
  size_t NewLines(size_t i) const {
    while (IsNewLine(at_[i].point)) ++i;
    return i;
  }

  size_t NumbersOrNot(size_t i) const {
    if (at_[i].kind == Class::kNumber)
      return rule_ == SplitRule::kDigits ? i + 1 : Run(i, Class::kNumber);
    while (at_[i].kind != Class::kNumber && at_[i].kind != Class::kEnd) ++i;
    return i;
  }

  // 's|'t|'re|'ve|'m|'ll|'d, in capitals too but for GPT-2
  size_t Contraction(size_t i) const {
    if (at_[i].point != '\'') return i;
    const auto letter = [&](size_t j) {
      const char32_t point = j < at_.size() ? at_[j].point : 0;
      const bool is_capital = rule_ != SplitRule::kGpt2 && point >= 'A' && point <= 'Z';
      return is_capital ? point + 32 : point;
    };
    const char32_t first = letter(i + 1), second = letter(i + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return i + 2;
    if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l'))
      return i + 3;
    return i;
  }

  //  ?\p{L}+, and the same with other classes
  size_t SpaceAndRun(size_t i, Class kind) const {
    const size_t begin = at_[i].point == ' ' ? i + 1 : i;
    const size_t end = Run(begin, kind);
    return end > begin ? end : i;
  }

  // [^\r\n\p{L}\p{N}]?\p{L}+
  size_t Word(size_t i) const {
    const bool may_lead = at_[i].kind != Class::kLetter && at_[i].kind != Class::kNumber &&
                          at_[i].kind != Class::kEnd && !IsNewLine(at_[i].point);
    const size_t begin = may_lead ? i + 1 : i;
    const size_t end = Run(begin, Class::kLetter);
    return end > begin ? end : i;
  }

  // \p{N}{1,3} or \p{N}
  size_t Numbers(size_t i) const {
    const size_t most = rule_ == SplitRule::kNumbersBy3 ? 3 : 1;
    return std::min(Run(i, Class::kNumber), i + most);
  }

  // \s*[\r\n]+ (not GPT-2), then \s+(?!\S), then \s+
  size_t Spaces(size_t i) const {
    const size_t end = Run(i, Class::kSpace);
    if (rule_ != SplitRule::kGpt2)
      for (size_t j = end; j > i; --j)
        if (IsNewLine(at_[j - 1].point)) return j;
    // The last space goes with the word behind it.
    return at_[end].kind != Class::kEnd && end - i > 1 ? end - 1 : end;
  }

  const std::vector<Character>& at_;
  SplitRule rule_;
};

constexpr char kLlama3[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen2[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace

std::optional<SplitRule> RuleOfExpression(std::string_view expression) {
  if (expression == kLlama3) return SplitRule::kNumbersBy3;
  if (expression == kQwen2) return SplitRule::kNumbersByOne;
  return std::nullopt;
}

std::vector<std::string_view> Split(std::string_view text, const std::vector<SplitRule>& rules) {
  std::vector<std::string_view> pieces = {text};
  for (const SplitRule rule : rules) {
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces) {
      const std::vector<Character> characters = Characters(piece);
      const Matcher matcher(characters, rule);
      for (size_t i = 0, end = 0; characters[i].kind != Class::kEnd; i = end) {
        end = matcher.Match(i);
        const size_t begin = characters[i].offset;
        finer.push_back(piece.substr(begin, characters[end].offset - begin));
      }
    }
    pieces = std::move(finer);
  }
  return pieces;
}

}  // namespace generate
