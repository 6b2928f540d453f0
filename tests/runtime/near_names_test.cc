#include "runtime/near_names.h"

#include <gtest/gtest.h>

#include <vector>

namespace octavo {
namespace {

std::string Near(std::string_view wanted, const std::vector<std::string>& names) {
  std::vector<const std::string*> pointers;
  for (const std::string& name : names) pointers.push_back(&name);
  return NearNames(wanted, pointers);
}

TEST(NearNames, WholeComponentsAtEitherEnd) {
  EXPECT_EQ(Near("h.0.attn", {"transformer.h.0.attn"}), " (near: \"transformer.h.0.attn\")");
  EXPECT_EQ(Near("lm_head.weight", {"lm_head"}), " (near: \"lm_head\")");
  EXPECT_EQ(Near("0.attn", {"transformer.h.10.attn"}), "");
}

TEST(NearNames, FewLettersApart) {
  EXPECT_EQ(Near("layers.1.q_porj", {"layers.1.q_proj"}), " (near: \"layers.1.q_proj\")");
  EXPECT_EQ(Near("abcdefgh", {"hgfedcba"}), "");
  EXPECT_EQ(Near("abc", {"abcdef"}), " (near: \"abcdef\")");  // three letters
  EXPECT_EQ(Near("abc", {"abcdefg"}), "");                    // four
}

TEST(NearNames, TheNearestThreeBestFirst) {
  EXPECT_EQ(Near("name", {"name123", "name1", "name12", "nam", "elsewhere"}),
            " (near: \"name1\", \"nam\", \"name12\")");
}

TEST(NearNames, NothingFromNothing) {
  EXPECT_EQ(Near("x", {}), "");
  EXPECT_EQ(Near("", {"a.b.c.d"}), "");
}

}  // namespace
}  // namespace octavo
