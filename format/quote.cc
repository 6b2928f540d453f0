#include "format/quote.h"

namespace octavo::format {

std::string Quote(std::string_view name) {
  constexpr size_t kShown = 200;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "\"";
  bool after_c2 = false;  // U+0080 to U+009F, C2 80 to C2 9F in UTF-8, drive terminals as well
  for (const char c : name.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (after_c2 && byte < 0xa0)) {
      text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      text += c;
    }
    after_c2 = byte == 0xc2;
  }
  return text + (name.size() > kShown ? "…\"" : "\"");
}

}  // namespace octavo::format
