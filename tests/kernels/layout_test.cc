#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "octavo/kernels.h"
#include "tests/testing/guarded_buffer.h"
#include "tests/testing/random.h"

namespace octavo::kernels {
namespace {

std::vector<int8_t> RandomCodes(testing::Random& random, size_t count) {
  std::vector<int8_t> codes(count);
  for (int8_t& code : codes) code = static_cast<int8_t>(random.Bits());
  return codes;
}

TEST(LayoutBytes, PadsOutTo16AndInTo64) {
  EXPECT_EQ(LayoutBytes(WeightLayout::kPlain, 3, 5), 15u);
  EXPECT_EQ(LayoutBytes(WeightLayout::kVnni16x4, 3, 5), 16u * 64);
  EXPECT_EQ(LayoutBytes(WeightLayout::kVnni16x4, 16, 64), 16u * 64);
  EXPECT_EQ(LayoutBytes(WeightLayout::kVnni16x4, 17, 65), 32u * 128);
  EXPECT_EQ(LayoutBytes(WeightLayout::kVnni16x4, 0, 65), 0u);
}

// [out/16][in/4][16][4], written out index by index.
TEST(PackCodes, Vnni16x4PlacesEveryCode) {
  testing::Random random(testing::TestSeed());
  const size_t out = 19, in = 70, padded_out = 32, padded_in = 128;
  const std::vector<int8_t> plain = RandomCodes(random, out * in);
  std::vector<int8_t> packed(LayoutBytes(WeightLayout::kVnni16x4, out, in), 99);
  PackCodes(WeightLayout::kVnni16x4, plain.data(), out, in, packed.data());
  size_t i = 0;
  for (size_t out_group = 0; out_group < padded_out / 16; ++out_group) {
    for (size_t in_group = 0; in_group < padded_in / 4; ++in_group) {
      for (size_t n = out_group * 16; n < out_group * 16 + 16; ++n) {
        for (size_t k = in_group * 4; k < in_group * 4 + 4; ++k, ++i) {
          ASSERT_EQ(packed[i], n < out && k < in ? plain[n * in + k] : 0) << n << " " << k;
        }
      }
    }
  }
  EXPECT_EQ(i, packed.size());
}

TEST(PackCodes, UnpackGivesThePlainCodesBack) {
  testing::Random random(testing::TestSeed());
  for (const WeightLayout layout : {WeightLayout::kPlain, WeightLayout::kVnni16x4}) {
    for (const size_t out : {0, 1, 15, 16, 17, 33}) {
      for (const size_t in : {0, 1, 3, 4, 5, 63, 64, 65, 131}) {
        const std::vector<int8_t> plain = RandomCodes(random, out * in);
        testing::GuardedBuffer packed(LayoutBytes(layout, out, in)), back(out * in);
        PackCodes(layout, plain.data(), out, in, reinterpret_cast<int8_t*>(packed.data()));
        UnpackCodes(layout, reinterpret_cast<const int8_t*>(packed.data()), out, in,
                    reinterpret_cast<int8_t*>(back.data()));
        ASSERT_TRUE(std::equal(plain.begin(), plain.end(), reinterpret_cast<int8_t*>(back.data())))
            << out << "x" << in;
        ASSERT_TRUE(packed.Intact() && back.Intact());
      }
    }
  }
}

TEST(PackCodes, ManyThreadsGiveTheSameBytes) {
  testing::Random random(testing::TestSeed());
  const size_t out = 2603, in = 2001;  // more than two of the pieces that threads get
  const std::vector<int8_t> plain = RandomCodes(random, out * in);
  int64_t num_tasks = 0;
  ParallelFor parallel;
  parallel.context = &num_tasks;
  parallel.run = [](void* context, int64_t count, ParallelFor::Task task, void* task_context) {
    *static_cast<int64_t*>(context) = count;
    std::vector<std::thread> threads;
    for (int64_t i = count - 1; i >= 0; --i) threads.emplace_back(task, task_context, i);
    for (std::thread& thread : threads) thread.join();
  };
  for (const WeightLayout layout : {WeightLayout::kPlain, WeightLayout::kVnni16x4}) {
    std::vector<int8_t> alone(LayoutBytes(layout, out, in), 1), together(alone.size(), 2);
    PackCodes(layout, plain.data(), out, in, alone.data());
    PackCodes(layout, plain.data(), out, in, together.data(), parallel);
    EXPECT_EQ(alone, together);
    EXPECT_GE(num_tasks, 3);
    std::vector<int8_t> back(plain.size());
    UnpackCodes(layout, together.data(), out, in, back.data());
    EXPECT_EQ(back, plain);
  }
}

}  // namespace
}  // namespace octavo::kernels
