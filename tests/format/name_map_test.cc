#include "format/name_map.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>

namespace octavo::format {
namespace {

TEST(NameMap, NumbersNamesInTheirOrder) {
  NameMap map;
  EXPECT_EQ(map.Find("a"), std::nullopt);
  EXPECT_TRUE(map.Add("b"));
  EXPECT_TRUE(map.Add("a"));
  EXPECT_TRUE(map.Add(""));
  EXPECT_FALSE(map.Add("b"));
  EXPECT_EQ(map.Find("b"), 0u);
  EXPECT_EQ(map.Find("a"), 1u);
  EXPECT_EQ(map.Find(""), 2u);
  EXPECT_EQ(map.Find("c"), std::nullopt);
  EXPECT_EQ(map.size(), 3u);
}

TEST(NameMap, FindsAllOfManyWithAndWithoutRoomReserved) {
  std::deque<std::string> names;
  for (size_t i = 0; i < 100'000; ++i) names.push_back("model.layers." + std::to_string(i));
  for (const size_t reserved : {0, 1000, 100'000}) {
    NameMap map;
    map.Reserve(reserved);
    for (const std::string& name : names) ASSERT_TRUE(map.Add(name));
    for (size_t i = 0; i < names.size(); ++i) ASSERT_EQ(map.Find(names[i]), i);
    EXPECT_EQ(map.Find("model.layers.100000"), std::nullopt);
    EXPECT_FALSE(map.Add(names[77]));
  }
}

}  // namespace
}  // namespace octavo::format
