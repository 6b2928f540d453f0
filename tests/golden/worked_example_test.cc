// The example in docs/format.md is the file that the writer writes.
#include "tests/golden/worked_example.h"

#include <gtest/gtest.h>

#include "tests/golden/surgery.h"

namespace octavo::testing {
namespace {

TEST(WorkedExample, OfThePageIsTheFile) {
  const Bytes page = Load(OCTAVO_FORMAT_PAGE);
  const std::string text(reinterpret_cast<const char*>(page.data()), page.size());
  const size_t section = text.find("## 11. A worked example");
  ASSERT_NE(section, std::string::npos);
  const std::string fence = "```text\n";
  const size_t begin = text.find(fence, section) + fence.size();
  const size_t end = text.find("```", begin);
  EXPECT_EQ(text.substr(begin, end - begin),
            AnnotatedDump(std::string(OCTAVO_GOLDEN) + "/valid/worked_example.8vo"));
}

}  // namespace
}  // namespace octavo::testing
