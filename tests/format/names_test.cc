#include "format/names.h"

#include <gtest/gtest.h>

#include <string>

namespace octavo::format {
namespace {

TEST(IsUtf8, AcceptsEveryLengthUpToItsLimits) {
  for (const std::string_view good :
       {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xe6\xa8\xa1z"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
}

TEST(IsUtf8, RejectsWhatTheStandardForbids) {
  for (const std::string_view bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "\xc2", "\xc2z",
        "\xe6\xa8z", "\xf0\x90\x80"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
}

// The text ends in the middle of a character although more bytes follow in memory.
TEST(IsUtf8, ReadsNothingBehindTheText) {
  const std::string_view text = "\xe6\xa8\xa1";
  EXPECT_FALSE(IsUtf8(text.substr(0, 1)));
  EXPECT_FALSE(IsUtf8(text.substr(0, 2)));
  EXPECT_TRUE(IsUtf8(text));
}

TEST(CheckTensorName, AllowsSlashesAndLimitsTheLength) {
  EXPECT_TRUE(CheckTensorName("a/b\\c:..").ok());
  EXPECT_TRUE(CheckTensorName(std::string(1024, 'x')).ok());
  EXPECT_EQ(CheckTensorName(std::string(1025, 'x')).code(), ErrorCode::kInvalidFile);
}

TEST(CheckBaseName, AllowsDotsInsideAndLimitsTheLength) {
  EXPECT_TRUE(CheckBaseName("a..b").ok());
  EXPECT_TRUE(CheckBaseName("...").ok());
  EXPECT_TRUE(CheckBaseName(std::string(255, 'x')).ok());
  EXPECT_EQ(CheckBaseName(std::string(256, 'x')).code(), ErrorCode::kInvalidFile);
  EXPECT_EQ(CheckBaseName("..").message(),
            "file name \"..\" is a folder; only files of the same folder can be named");
}

}  // namespace
}  // namespace octavo::format
