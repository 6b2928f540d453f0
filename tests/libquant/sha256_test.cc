#include "libquant/sha256.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace octavo::quant {
namespace {

// Digests of FIPS 180-4's examples, in pieces of any size, each piece by an object that goes on
// from the state of the one before.
TEST(Sha256, GoesOnFromAnyState) {
  const std::string million(1'000'000, 'a');
  const std::pair<std::string_view, std::string_view> examples[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}};
  for (const auto& [text, digest] : examples) {
    for (const size_t step : {1, 55, 63, 64, 65, 1'000'000}) {
      Sha256 sha256;
      for (size_t at = 0; at < text.size(); at += step) {
        Sha256 next;
        next.Restore(sha256.state());
        next.Add(std::as_bytes(std::span(text.substr(at, step))));
        sha256 = next;
      }
      EXPECT_EQ(sha256.Finish(), digest) << text.size() << " bytes, " << step << " at a time";
    }
  }
}

}  // namespace
}  // namespace octavo::quant
