#include "format/json_scan.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "format/names.h"

namespace octavo::format {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The high bit of each byte that ends a plain run of a string: a quote, a backslash, a control
// character or anything beyond ASCII. May also mark bytes behind the first such one.
uint64_t SpecialBytes(uint64_t eight) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kHigh = 0x8080808080808080;
  const auto zeros = [](uint64_t v) { return (v - kOnes) & ~v; };
  const uint64_t control = (eight - kOnes * 0x20) & ~eight;
  return (zeros(eight ^ kOnes * '"') | zeros(eight ^ kOnes * '\\') | control | eight) & kHigh;
}

// Whether a number that from_chars found out of range is too small, hence 0, not too large.
bool IsTiny(std::string_view number) {
  const size_t exponent_at = number.find_first_of("eE");
  const std::string_view digits = number.substr(0, exponent_at);
  int64_t exponent = 0;
  if (exponent_at != std::string_view::npos) {
    std::string_view text = number.substr(exponent_at + 1);
    const bool is_negative = text.front() == '-';
    if (!IsDigit(text.front())) text.remove_prefix(1);
    const auto end = std::from_chars(text.data(), text.data() + text.size(), exponent);
    if (end.ec != std::errc() || exponent > (int64_t{1} << 40)) exponent = int64_t{1} << 40;
    if (is_negative) exponent = -exponent;
  }
  const size_t point = std::min(digits.find('.'), digits.size());
  const size_t first = digits.find_first_of("123456789");
  if (first == std::string_view::npos) return true;
  return exponent + static_cast<int64_t>(point) - static_cast<int64_t>(first) < 0;
}

class Scanner {
 public:
  Scanner(std::string_view text, JsonEvents* events)
      : begin_(text.data()), at_(begin_), end_(begin_ + text.size()), events_(*events) {}

  JsonScan Run() {
    const bool is_whole = Values() && (SkipSpace(), at_ == end_ || Malformed());
    return {is_whole, malformed_at_};
  }

 private:
  // One value with everything in it.
  bool Values();
  // What follows a value: a comma, or the ends of objects and arrays. *is_done: of the outermost.
  bool AfterValue(bool* is_done);
  bool BeginValue(bool* is_done);
  bool KeyAndColon();
  bool Close();

  bool Literal(std::string_view word);
  bool Number();
  // The string that begins at the quote here; a view of the text, or of *scratch.
  bool String(std::string* scratch, std::string_view* value);
  bool Escape(std::string* out);
  bool FourHex(uint32_t* value);
  bool EscapedCharacter(std::string* out);

  void SkipSpace() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }
  bool Is(char c) const { return at_ != end_ && *at_ == c; }
  bool Malformed() {
    malformed_at_ = static_cast<size_t>(at_ - begin_) + 1;
    return false;
  }

  const char* const begin_;
  const char* at_;
  const char* const end_;
  JsonEvents& events_;
  std::vector<bool> open_;  // whether each is an array
  std::string scratch_;
  std::deque<std::string> keys_;  // those with escapes
  size_t malformed_at_ = 0;
};

bool Scanner::Values() {
  for (bool is_done = false; !is_done;) {
    SkipSpace();
    if (!BeginValue(&is_done)) return false;
  }
  return true;
}

bool Scanner::BeginValue(bool* is_done) {
  if (at_ == end_) return Malformed();
  bool goes_on = true;
  switch (*at_) {
    case '{':
    case '[': {
      const bool is_array = *at_++ == '[';
      open_.push_back(is_array);
      if (!events_.Begin(is_array)) return false;
      SkipSpace();
      if (Is(is_array ? ']' : '}')) break;  // AfterValue closes it
      return is_array || KeyAndColon();
    }
    case '"': {
      std::string_view value;
      goes_on = String(&scratch_, &value) && events_.String(value);
      break;
    }
    case 't':
      goes_on = Literal("true") && events_.Bool(true);
      break;
    case 'f':
      goes_on = Literal("false") && events_.Bool(false);
      break;
    case 'n':
      goes_on = Literal("null") && events_.Null();
      break;
    default:
      goes_on = Number();
  }
  return goes_on && AfterValue(is_done);
}

bool Scanner::AfterValue(bool* is_done) {
  while (!open_.empty()) {
    SkipSpace();
    if (Is(',')) {
      ++at_;
      SkipSpace();
      return open_.back() || KeyAndColon();
    }
    if (!Close()) return false;
  }
  *is_done = true;
  return true;
}

bool Scanner::Close() {
  const bool is_array = open_.back();
  if (!Is(is_array ? ']' : '}')) return Malformed();
  ++at_;
  open_.pop_back();
  return events_.End(is_array);
}

bool Scanner::KeyAndColon() {
  if (!Is('"')) return Malformed();
  std::string_view key;
  if (!String(&scratch_, &key)) return false;
  if (key.data() == scratch_.data()) key = keys_.emplace_back(key);
  if (!events_.Key(key)) return false;
  SkipSpace();
  if (!Is(':')) return Malformed();
  ++at_;
  return true;
}

bool Scanner::Literal(std::string_view word) {
  for (const char c : word) {
    if (!Is(c)) return Malformed();
    ++at_;
  }
  return true;
}

bool Scanner::Number() {
  const char* const first = at_;
  const auto digits = [this] {
    if (at_ == end_ || !IsDigit(*at_)) return Malformed();
    while (at_ != end_ && IsDigit(*at_)) ++at_;
    return true;
  };
  if (Is('-')) ++at_;
  if (Is('0')) {
    ++at_;
  } else if (!digits()) {
    return false;
  }
  bool is_integer = *first != '-';
  if (Is('.')) {
    ++at_;
    is_integer = false;
    if (!digits()) return false;
  }
  if (Is('e') || Is('E')) {
    ++at_;
    is_integer = false;
    if (Is('+') || Is('-')) ++at_;
    if (!digits()) return false;
  }
  if (is_integer) {
    uint64_t count = 0;
    if (std::from_chars(first, at_, count).ec == std::errc()) return events_.Count(count);
  }
  double value = 0;
  if (std::from_chars(first, at_, value).ec != std::errc()) {
    if (!IsTiny({first, static_cast<size_t>(at_ - first)})) return Malformed();
    value = 0;
  }
  return std::isfinite(value) ? events_.Number(value) : Malformed();
}

bool Scanner::String(std::string* scratch, std::string_view* value) {
  const char* run = ++at_;  // what is not in *scratch yet
  bool is_decoded = false;
  while (true) {
    uint64_t eight;
    while (end_ - at_ >= 8) {
      std::memcpy(&eight, at_, sizeof(eight));
      if (SpecialBytes(eight) != 0) break;
      at_ += 8;
    }
    while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<signed char>(*at_) >= 0x20)
      ++at_;
    if (at_ == end_) return Malformed();
    if (*at_ == '"') break;
    if (static_cast<signed char>(*at_) < 0) {
      // A run beyond ASCII, checked as a whole.
      const char* const begin = at_;
      while (at_ != end_ && static_cast<signed char>(*at_) < 0) ++at_;
      const size_t good = WellFormedBytes({begin, static_cast<size_t>(at_ - begin)});
      if (begin + good == at_) continue;
      at_ = begin + good;
      return Malformed();
    }
    if (*at_ != '\\') return Malformed();
    if (!is_decoded) scratch->clear();
    is_decoded = true;
    scratch->append(run, at_);
    if (!Escape(scratch)) return false;
    run = at_;
  }
  *value = {run, static_cast<size_t>(at_ - run)};
  if (is_decoded) *value = scratch->append(*value);
  ++at_;
  return true;
}

bool Scanner::Escape(std::string* out) {
  constexpr std::string_view kLetters = "\"\\/bfnrt";
  constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
  ++at_;  // the backslash
  if (at_ == end_) return Malformed();
  if (*at_ == 'u') return EscapedCharacter(out);
  const size_t letter = kLetters.find(*at_);
  if (letter == std::string_view::npos) return Malformed();
  *out += kMeant[letter];
  ++at_;
  return true;
}

// At the "u": four digits, or a pair of surrogates.
bool Scanner::EscapedCharacter(std::string* out) {
  uint32_t value = 0;
  if (!FourHex(&value)) return false;
  if (value >= 0xDC00 && value < 0xE000) return Malformed();
  if (value >= 0xD800 && value < 0xDC00) {
    uint32_t low = 0;
    if (!Is('\\')) return Malformed();
    ++at_;
    if (!Is('u')) return Malformed();
    if (!FourHex(&low)) return false;
    if (low < 0xDC00 || low >= 0xE000) return Malformed();
    value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
  }
  const auto add = [out](uint32_t byte) { *out += static_cast<char>(byte); };
  if (value < 0x80) {
    add(value);
  } else if (value < 0x800) {
    add(0xC0 | value >> 6);
    add(0x80 | (value & 0x3F));
  } else {
    if (value < 0x10000) {
      add(0xE0 | value >> 12);
    } else {
      add(0xF0 | value >> 18);
      add(0x80 | (value >> 12 & 0x3F));
    }
    add(0x80 | (value >> 6 & 0x3F));
    add(0x80 | (value & 0x3F));
  }
  return true;
}

bool Scanner::FourHex(uint32_t* value) {
  ++at_;  // the "u"
  for (int i = 0; i < 4; ++i, ++at_) {
    if (at_ == end_) return Malformed();
    const char lower = static_cast<char>(*at_ | 0x20);
    const bool is_letter = lower >= 'a' && lower <= 'f';
    if (!is_letter && !IsDigit(*at_)) return Malformed();
    *value = *value << 4 | static_cast<uint32_t>(is_letter ? lower - 'a' + 10 : *at_ - '0');
  }
  return true;
}

}  // namespace

JsonScan ScanJson(std::string_view text, JsonEvents* events) { return Scanner(text, events).Run(); }

}  // namespace octavo::format
