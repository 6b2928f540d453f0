// octavo/ceilings.h: that there is a figure and who has it. How large it is, no test can say.
#include "octavo/ceilings.h"

#include <gtest/gtest.h>

#include <vector>

#include "octavo/thread_pool.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

using MeasureInt8PeakTest = EachTable;

TEST_P(MeasureInt8PeakTest, EveryInstructionSetHasOne) {
  if (is_emulated()) GTEST_SKIP() << "this machine has no such instructions to measure";
  ThreadPool pool(2);
  const double peak = MeasureInt8Peak(table(), pool.parallel_for(), 0);
  if (GetParam() == "portable") {
    EXPECT_EQ(peak, 0);
  } else {
    EXPECT_GT(peak, 1e8);
    EXPECT_LT(peak, 1e15);
  }
}
OCTAVO_FOR_EACH_TABLE(MeasureInt8PeakTest);

TEST(MeasureReadBandwidth, ReadsOnOneAndTwoThreads) {
  const std::vector<char> memory(4 << 20, 1);
  ThreadPool pool(2);
  EXPECT_GT(MeasureReadBandwidth(memory.data(), memory.size(), SerialFor()), 1e7);
  EXPECT_GT(MeasureReadBandwidth(memory.data(), memory.size(), pool.parallel_for()), 1e7);
}

}  // namespace
}  // namespace octavo::kernels
