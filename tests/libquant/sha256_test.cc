#include "libquant/sha256.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace octavo::quant {
namespace {

std::string DigestOf(std::string_view text, bool use_instructions, size_t step) {
  Sha256 sha256(use_instructions);
  for (size_t at = 0; at < text.size(); at += step) {
    sha256.Add(std::as_bytes(std::span(text.substr(at, step))));
  }
  return sha256.Finish();
}

// The examples of FIPS 180-4, plain and with the CPU's instructions, in pieces of any size.
TEST(Sha256, GivesThePublishedDigests) {
  const std::string million(1'000'000, 'a');
  const std::pair<std::string_view, std::string_view> examples[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmn"
       "opqrsmnopqrstnopqrstu",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}};
  for (const auto& [text, digest] : examples) {
    for (const bool use_instructions : {false, true}) {
      for (const size_t step : {1, 55, 63, 64, 65, 1'000'000}) {
        EXPECT_EQ(DigestOf(text, use_instructions, step), digest) << text.size() << " " << step;
      }
    }
  }
}

// Around the end of a block both kinds of code must pad alike.
TEST(Sha256, BothKindsOfCodeAgreeOnEveryLength) {
  std::string text;
  for (size_t length = 0; length < 300; ++length) {
    EXPECT_EQ(DigestOf(text, false, 300), DigestOf(text, true, 300)) << length;
    text += static_cast<char>('a' + length * 7 % 26);
  }
}

}  // namespace
}  // namespace octavo::quant
