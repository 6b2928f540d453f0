// The metrics against a plain double computation.
#include "libquant/error_metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "octavo/half.h"
#include "octavo/kernels.h"
#include "tests/testing/random.h"

namespace octavo::quant {
namespace {

using kernels::ElementType;

double Widen(ElementType type, const std::vector<uint16_t>& bits, const std::vector<float>& floats,
             size_t k) {
  if (type == ElementType::kFloat32) return floats[k];
  return type == ElementType::kFloat16 ? kernels::HalfToFloat(bits[k])
                                       : kernels::BFloat16ToFloat(bits[k]);
}

// Every type and length around the lanes and tiles, subnormal halves among the weights.
TEST(MeasureRow, AgreesWithAPlainComputation) {
  octavo::testing::Random random(octavo::testing::TestSeed());
  for (const ElementType type :
       {ElementType::kFloat16, ElementType::kBFloat16, ElementType::kFloat32}) {
    for (const size_t length : {0, 1, 7, 8, 9, 511, 512, 513, 1029}) {
      for (const bool is_step : {false, true}) {
        std::vector<float> floats(length);
        std::vector<uint16_t> bits(length);
        std::vector<int8_t> codes(length);
        const Decoding decoding{is_step ? 0.01f : 1.3f, is_step ? -7 : 0, is_step};
        double weight_squares = 0;
        double error_squares = 0;
        double max_error = 0;
        uint64_t saturated = 0;
        for (size_t k = 0; k < length; ++k) {
          floats[k] = random.Uniform(-1.3f, 1.3f) * (k % 5 == 0 ? 1e-6f : 1.0f);
          bits[k] = type == ElementType::kFloat16 ? kernels::FloatToHalf(floats[k])
                                                  : kernels::FloatToBFloat16(floats[k]);
          codes[k] = static_cast<int8_t>(static_cast<int>(k % 256) - (is_step ? 128 : 127));
          const double weight = Widen(type, bits, floats, k);
          const double decoded = is_step ? (codes[k] + 7) * double{decoding.scale}
                                         : codes[k] * double{decoding.scale} / 127.0;
          weight_squares += weight * weight;
          error_squares += (weight - decoded) * (weight - decoded);
          max_error = std::max(max_error, std::fabs(weight - decoded));
          saturated += codes[k] == 127 || codes[k] == (is_step ? -128 : -127);
        }
        const void* data =
            type == ElementType::kFloat32 ? static_cast<const void*>(floats.data()) : bits.data();
        const ErrorSums sums = MeasureRow(data, type, codes.data(), length, decoding);
        const double divisor = is_step ? 1.0 : 127.0;
        EXPECT_NEAR(sums.weight_squares, weight_squares, 1e-13 * weight_squares);
        EXPECT_NEAR(sums.error_squares / divisor / divisor, error_squares, 1e-12 * error_squares);
        EXPECT_NEAR(sums.max_error / divisor, max_error, 1e-12);
        EXPECT_EQ(sums.saturated, saturated);
      }
    }
  }
}

TEST(MeasureRow, SeesEveryFiniteHalf) {
  std::vector<uint16_t> bits;
  for (uint32_t half = 0; half < 0x10000; ++half) {
    if ((half & 0x7c00u) != 0x7c00u) bits.push_back(static_cast<uint16_t>(half));
  }
  const std::vector<int8_t> codes(1, 0);
  for (const uint16_t half : bits) {
    const double value = kernels::HalfToFloat(half);
    const ErrorSums sums = MeasureRow(&half, ElementType::kFloat16, codes.data(), 1, {});
    ASSERT_EQ(sums.weight_squares, value * value) << half;
  }
}

// ---- Codes and errors in one pass: the same bits as in two, in every table that has it ----

struct Row {
  ElementType type;
  std::vector<uint16_t> bits;
  float absmax;  // at least every magnitude
};

float ValueOf(const Row& row, size_t k) {
  return row.type == ElementType::kFloat16 ? kernels::HalfToFloat(row.bits[k])
                                           : kernels::BFloat16ToFloat(row.bits[k]);
}

Row MakeRow(ElementType type, size_t length, float deviation, octavo::testing::Random& random) {
  Row row{type, {}, 0};
  for (size_t k = 0; k < length; ++k) {
    const float value = random.Normal(k % 7 == 0 ? deviation * 1e-5f : deviation);
    row.bits.push_back(type == ElementType::kFloat16 ? kernels::FloatToHalf(value)
                                                     : kernels::FloatToBFloat16(value));
    row.absmax = std::max(row.absmax, std::fabs(ValueOf(row, k)));
  }
  return row;
}

void ExpectTheSameInOnePass(const kernels::CpuKernels& table, const Row& row) {
  const size_t length = row.bits.size();
  const float absmax = kernels::StoredAbsmax(row.absmax);
  std::vector<int8_t> expected(length), codes(length);
  const int32_t expected_sum =
      table.encode_symmetric(row.bits.data(), row.type, length, absmax, expected.data());
  kernels::WeightError error;
  const int32_t sum =
      table.encode_measured(row.bits.data(), row.type, length, absmax, codes.data(), &error);
  ASSERT_EQ(codes, expected);
  ASSERT_EQ(sum, expected_sum);
  const ErrorSums sums =
      MeasureRow(row.bits.data(), row.type, codes.data(), length, {absmax, 0, false});
  ASSERT_EQ(error.weight_squares, sums.weight_squares);
  ASSERT_EQ(error.error_squares, sums.error_squares);
  ASSERT_EQ(error.max_error, sums.max_error);
  ASSERT_EQ(error.saturated, sums.saturated);
}

std::vector<Row> InterestingRows(octavo::testing::Random& random) {
  std::vector<Row> rows;
  for (const ElementType type : {ElementType::kFloat16, ElementType::kBFloat16}) {
    for (size_t length = 0; length < 70; ++length) {
      rows.push_back(MakeRow(type, length, 0.02f, random));
    }
    rows.push_back(MakeRow(type, 4099, 1.0f, random));
    rows.push_back(rows.back());
    rows.back().absmax *= 8;  // one of another row, as for methods with one range
    rows.push_back(MakeRow(type, 333, 3e-6f, random));  // subnormal halves
  }
  for (const float deviation :
       {1e35f, 1e-30f, 1e-36f, 1e-39f}) {  // the last: absmax is stored as 0
    rows.push_back(MakeRow(ElementType::kBFloat16, 333, deviation, random));
  }
  Row all{ElementType::kFloat16, {}, 65504.0f};
  for (uint32_t half = 0; half < 0x7c00; ++half) {
    all.bits.push_back(static_cast<uint16_t>(half));
    all.bits.push_back(static_cast<uint16_t>(half | 0x8000));
  }
  rows.push_back(std::move(all));
  return rows;
}

TEST(EncodeMeasured, GivesTheBitsOfTwoPasses) {
  octavo::testing::Random random(octavo::testing::TestSeed());
  const std::vector<Row> rows = InterestingRows(random);
  for (const kernels::CpuKernelsInfo& info : kernels::ListCpuKernels()) {
    if (!info.supported || info.kernels->encode_measured == nullptr) continue;
    SCOPED_TRACE(info.name);
    for (const Row& row : rows) ExpectTheSameInOnePass(*info.kernels, row);
  }
}

TEST(Summarize, GivesNothingForAnExactModule) {
  const std::vector<float> weights = {1.7f, -1.7f, 0.0f, 1.7f};
  const std::vector<int8_t> codes = {127, -127, 0, 127};
  const ErrorSums sums =
      MeasureRow(weights.data(), ElementType::kFloat32, codes.data(), 4, {1.7f, 0, false});
  const format::ModuleError error = Summarize(sums, false, 4, 1.7f, 1.7f);
  EXPECT_EQ(error.snr_db, std::nullopt);
  EXPECT_EQ(error.max_abs_error, 0.0);
  EXPECT_EQ(error.saturated_share, 0.75);
}

TEST(Summarize, RoundsToAHundredthOfADecibel) {
  ErrorSums sums;
  sums.weight_squares = 2;
  sums.error_squares = 127.0 * 127.0;
  const format::ModuleError error = Summarize(sums, false, 1, 0, 0);
  EXPECT_EQ(error.snr_db, std::optional(3.01));
}

}  // namespace
}  // namespace octavo::quant
