// Every primitive against plain C++, by the kernels of primitive_kernels.cu. Built twice: with the
// emulation, which these tests thereby prove to be like a device, and with CUDA for a real one.
#include "tests/kernels/cuda/primitive_kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "octavo/half.h"
#include "tests/kernels/cuda/device_memory.h"
#include "tests/testing/random.h"

namespace octavo::cuda::testing {
namespace {

using octavo::testing::Random;

class SmallKernels : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HasDevice(seed_)) GTEST_SKIP() << "no CUDA device";
    ASSERT_EQ(GetDeviceTraits(0, &traits_), CudaStatus::kOk) << LastError();
  }

  std::vector<int8_t> RandomBytes(size_t count) {
    std::vector<int8_t> bytes(count);
    for (int8_t& byte : bytes) byte = static_cast<int8_t>(random_.Bits());
    return bytes;
  }

  const uint64_t seed_ = octavo::testing::TestSeed();
  const ::testing::ScopedTrace trace_{__FILE__, __LINE__, octavo::testing::SeedText(seed_)};
  Random random_{seed_};
  DeviceTraits traits_;
};

int32_t CodeOf(int8_t byte, bool is_signed) {
  return is_signed ? byte : static_cast<int32_t>(static_cast<uint8_t>(byte));
}

// acc + sum over k of a[row][k] * b[column][k], in int32 that wraps.
int32_t ExpectedDot(const std::vector<int8_t>& a, const std::vector<int8_t>& b, size_t row,
                    size_t column, size_t depth, bool signed_a, int32_t acc) {
  uint32_t sum = static_cast<uint32_t>(acc);
  for (size_t k = 0; k < depth; ++k)
    sum += static_cast<uint32_t>(CodeOf(a[row * depth + k], signed_a) * b[column * depth + k]);
  return static_cast<int32_t>(sum);
}

TEST_F(SmallKernels, MmaI8IsTheExactProduct) {
  for (const bool signed_a : {true, false}) {
    const std::vector<int8_t> a = RandomBytes(16 * 32);
    const std::vector<int8_t> b = RandomBytes(8 * 32);
    std::vector<int32_t> d(16 * 8);
    for (int32_t& value : d) value = static_cast<int32_t>(random_.Bits());
    DeviceArray<int8_t> device_a(a);
    DeviceArray<int8_t> device_b(b);
    DeviceArray<int32_t> device_d(d);
    ASSERT_EQ(LaunchMmaI8(signed_a, device_a.data(), device_b.data(), device_d.data()),
              CudaStatus::kOk)
        << LastError();
    const std::vector<int32_t> found = device_d.ToHost();
    for (size_t row = 0; row < 16; ++row) {
      for (size_t column = 0; column < 8; ++column)
        EXPECT_EQ(found[row * 8 + column],
                  ExpectedDot(a, b, row, column, 32, signed_a, d[row * 8 + column]))
            << "row " << row << ", column " << column << (signed_a ? ", int8" : ", uint8");
    }
  }
}

// Small integers, whose products and sums are exact in every precision.
TEST_F(SmallKernels, Mma16IsExactWhereFloatsAre) {
  for (const bool bfloat16 : {true, false}) {
    const auto narrow = bfloat16 ? kernels::FloatToBFloat16 : kernels::FloatToHalf;
    std::vector<float> a(16 * 16);
    std::vector<float> b(8 * 16);
    std::vector<float> d(16 * 8);
    std::vector<uint16_t> narrow_a;
    std::vector<uint16_t> narrow_b;
    for (float& value : a) narrow_a.push_back(narrow(value = std::round(random_.Normal(40))));
    for (float& value : b) narrow_b.push_back(narrow(value = std::round(random_.Normal(40))));
    for (float& value : d) value = std::round(random_.Normal(1000));
    DeviceArray<uint16_t> device_a(narrow_a);
    DeviceArray<uint16_t> device_b(narrow_b);
    DeviceArray<float> device_d(d);
    ASSERT_EQ(LaunchMma16(bfloat16, device_a.data(), device_b.data(), device_d.data()),
              CudaStatus::kOk)
        << LastError();
    const std::vector<float> found = device_d.ToHost();
    for (size_t row = 0; row < 16; ++row) {
      for (size_t column = 0; column < 8; ++column) {
        float expected = d[row * 8 + column];
        for (size_t k = 0; k < 16; ++k) expected += a[row * 16 + k] * b[column * 16 + k];
        EXPECT_EQ(found[row * 8 + column], expected) << "row " << row << ", column " << column;
      }
    }
  }
}

// Products are exact and rounding stays within that of hardware that truncates (docs/numerics.md,
// section 7): 17 terms, 2^-23 each.
TEST_F(SmallKernels, Mma16RoundsOnlySums) {
  for (const bool bfloat16 : {true, false}) {
    const auto widen = bfloat16 ? kernels::BFloat16ToFloat : kernels::HalfToFloat;
    const auto narrow = bfloat16 ? kernels::FloatToBFloat16 : kernels::FloatToHalf;
    std::vector<uint16_t> a(16 * 16);
    std::vector<uint16_t> b(8 * 16);
    for (uint16_t& value : a) value = narrow(random_.Normal(30));
    for (uint16_t& value : b) value = narrow(random_.Normal());
    const std::vector<float> d(16 * 8, 0.25f);
    DeviceArray<uint16_t> device_a(a);
    DeviceArray<uint16_t> device_b(b);
    DeviceArray<float> device_d(d);
    ASSERT_EQ(LaunchMma16(bfloat16, device_a.data(), device_b.data(), device_d.data()),
              CudaStatus::kOk)
        << LastError();
    const std::vector<float> found = device_d.ToHost();
    for (size_t row = 0; row < 16; ++row) {
      for (size_t column = 0; column < 8; ++column) {
        double expected = 0.25;
        double magnitudes = 0.25;
        for (size_t k = 0; k < 16; ++k) {
          const double product = double{widen(a[row * 16 + k])} * widen(b[column * 16 + k]);
          expected += product;
          magnitudes += std::abs(product);
        }
        EXPECT_NEAR(found[row * 8 + column], expected, 17 * 0x1p-23 * magnitudes)
            << "row " << row << ", column " << column;
      }
    }
  }
}

TEST_F(SmallKernels, WarpsExchange) {
  std::vector<int32_t> in(32);
  for (int32_t& value : in) value = static_cast<int32_t>(random_.Bits());
  DeviceArray<int32_t> device_in(in);
  DeviceArray<int32_t> device_out(4 * 32);
  ASSERT_EQ(LaunchExchange(device_in.data(), device_out.data()), CudaStatus::kOk) << LastError();
  const std::vector<int32_t> found = device_out.ToHost();
  uint32_t ballot = 0;
  for (size_t lane = 0; lane < 32; ++lane) ballot |= (in[lane] % 3 == 0 ? 1u : 0u) << lane;
  for (size_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(found[lane], in[(7 * lane + 3) % 32]);
    EXPECT_EQ(found[32 + lane], in[lane ^ 11]);
    EXPECT_EQ(found[64 + lane], static_cast<int32_t>(ballot));
    EXPECT_EQ(found[96 + lane], std::popcount(ballot));
  }
}

struct FloatResult {
  const char* name;
  uint32_t (*expected)(float x, float y);
};

int32_t RoundedInt(float x) {
  if (std::isnan(x)) return 0;
  if (x >= 0x1p31f) return std::numeric_limits<int32_t>::max();
  if (x < -0x1p31f) return std::numeric_limits<int32_t>::min();
  return static_cast<int32_t>(std::nearbyint(x));
}

uint32_t BitsOf(float value) { return std::bit_cast<uint32_t>(value); }

constexpr FloatResult kFloatResults[kNumFloatResults] = {
    {"MulRn", [](float x, float y) { return BitsOf(x * y); }},
    {"AddRn", [](float x, float y) { return BitsOf(x + y); }},
    {"SubRn", [](float x, float y) { return BitsOf(x - y); }},
    {"DivRn", [](float x, float y) { return BitsOf(x / y); }},
    {"FmaRn", [](float x, float y) { return BitsOf(std::fma(x, y, x)); }},
    {"RoundToInt", [](float x, float) { return static_cast<uint32_t>(RoundedInt(x)); }},
    {"RintF", [](float x, float) { return BitsOf(std::nearbyint(x)); }},
    {"IntToFloat",
     [](float x, float) { return BitsOf(static_cast<float>(static_cast<int32_t>(BitsOf(x)))); }},
    {"LongToFloat",
     [](float x, float y) {
       const uint64_t bits = uint64_t{BitsOf(x)} << 32 | BitsOf(y);
       return BitsOf(static_cast<float>(static_cast<int64_t>(bits)));
     }},
    {"FloatToHalf, FloatToBFloat16",
     [](float x, float) {
       return kernels::FloatToHalf(x) | static_cast<uint32_t>(kernels::FloatToBFloat16(x)) << 16;
     }},
    {"HalfToFloat",
     [](float x, float) { return BitsOf(kernels::HalfToFloat(static_cast<uint16_t>(BitsOf(x)))); }},
    {"PackHalf2",
     [](float x, float y) {
       return kernels::FloatToHalf(x) | static_cast<uint32_t>(kernels::FloatToHalf(y)) << 16;
     }},
    {"PackBFloat162",
     [](float x, float y) {
       return kernels::FloatToBFloat16(x) | static_cast<uint32_t>(kernels::FloatToBFloat16(y))
                                                << 16;
     }},
};

bool IsNan16(uint32_t half, bool bfloat16) {
  return bfloat16 ? (half & 0x7fff) > 0x7f80 : (half & 0x7fff) > 0x7c00;
}

// Equal, or both NaN: NaN payloads are the hardware's.
bool SameResult(size_t operation, uint32_t found, uint32_t expected) {
  if (found == expected) return true;
  const std::string name = kFloatResults[operation].name;
  if (name == "RoundToInt") return false;
  const auto same16 = [&](int shift, bool bfloat16) {
    const uint32_t f = found >> shift & 0xffff;
    const uint32_t e = expected >> shift & 0xffff;
    return f == e || (IsNan16(f, bfloat16) && IsNan16(e, bfloat16));
  };
  if (name == "FloatToHalf, FloatToBFloat16") return same16(0, false) && same16(16, true);
  if (name == "PackHalf2") return same16(0, false) && same16(16, false);
  if (name == "PackBFloat162") return same16(0, true) && same16(16, true);
  return std::isnan(std::bit_cast<float>(found)) && std::isnan(std::bit_cast<float>(expected));
}

// All kinds of floats: random bits, ordinary numbers, ties of every conversion, subnormal numbers,
// the ends of the ranges, infinities and NaN.
TEST_F(SmallKernels, ArithmeticRoundsAsTheHost) {
  std::vector<float> special = {0.0f,           -0.0f,         0.5f,      1.5f,      -2.5f,
                                65504.0f,       65519.996f,    65520.0f,  0x1p31f,   -0x1p31f,
                                0x1.fffffep30f, 3.4028235e38f, 0x1p-149f, 0x1p-126f, 0x1.8p-25f,
                                0x1p-25f,       0x1.ffffp127f, INFINITY,  -INFINITY, NAN};
  std::vector<float> x;
  std::vector<float> y;
  for (const float a : special) {
    for (const float b : special) {
      x.push_back(a);
      y.push_back(b);
    }
  }
  for (int i = 0; i < 50000; ++i) {
    x.push_back(std::bit_cast<float>(random_.Bits()));
    y.push_back(std::bit_cast<float>(random_.Bits()));
    x.push_back(random_.Normal(100));
    y.push_back(random_.Normal());
  }
  // Every value of the low 16 bits, for HalfToFloat.
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    x.push_back(std::bit_cast<float>(0x3f800000u | bits));
    y.push_back(std::bit_cast<float>(bits));
  }
  DeviceArray<float> device_x(x);
  DeviceArray<float> device_y(y);
  DeviceArray<uint32_t> device_out(kNumFloatResults * x.size());
  ASSERT_EQ(LaunchArithmetic(device_x.data(), device_y.data(), x.size(), device_out.data()),
            CudaStatus::kOk)
      << LastError();
  const std::vector<uint32_t> found = device_out.ToHost();
  for (size_t operation = 0; operation < kNumFloatResults; ++operation) {
    for (size_t i = 0; i < x.size(); ++i) {
      const uint32_t expected = kFloatResults[operation].expected(x[i], y[i]);
      ASSERT_TRUE(SameResult(operation, found[operation * x.size() + i], expected))
          << kFloatResults[operation].name << " of " << std::hexfloat << x[i] << " and " << y[i]
          << std::hex << ": " << found[operation * x.size() + i] << ", expected " << expected;
    }
  }
}

TEST_F(SmallKernels, CpAsyncFillsARing) {
  for (const int rows : {1, 4, 9, 30}) {
    std::vector<int32_t> in(static_cast<size_t>(rows) * 512);
    for (int32_t& value : in) value = static_cast<int32_t>(random_.Below(1000));
    DeviceArray<int32_t> device_in(in);
    DeviceArray<int32_t> device_out(512);
    ASSERT_EQ(LaunchAddRows(device_in.data(), rows, device_out.data()), CudaStatus::kOk)
        << LastError();
    std::vector<int32_t> expected(512);
    for (size_t i = 0; i < in.size(); ++i) expected[i % 512] += in[i];
    EXPECT_EQ(device_out.ToHost(), expected) << rows << " rows";
  }
}

TEST_F(SmallKernels, NamedSyncOrdersWarps) {
  DeviceArray<uint32_t> out(std::vector<uint32_t>{0, 0});
  ASSERT_EQ(LaunchNamedSync(out.data()), CudaStatus::kOk) << LastError();
  EXPECT_EQ(out.ToHost(), (std::vector<uint32_t>{3, 0xffffffffu}));
}

TEST_F(SmallKernels, TmaSwizzlesAndFillsWithZeros) {
  if (traits_.compute_capability < 90) GTEST_SKIP() << "no TMA below compute capability 9.0";
  constexpr size_t kInner = 200;
  constexpr size_t kRows = 40;
  constexpr size_t kStride = 208;
  const std::vector<int8_t> bytes = RandomBytes(kStride * kRows);
  DeviceArray<int8_t> matrix(bytes);
  TensorMap map;
  ASSERT_EQ(MakeTensorMap2D(&map, matrix.data(), kInner, kRows, kStride, 128, 16), CudaStatus::kOk)
      << LastError();
  const int32_t places[][2] = {{0, 0}, {64, 8}, {128, 32}, {-16, -3}, {208, 0}, {0, 40}};
  for (const auto& [x, y] : places) {
    DeviceArray<uint8_t> box(2048);
    ASSERT_EQ(LaunchTmaBox(map, x, y, box.data()), CudaStatus::kOk) << LastError();
    const std::vector<uint8_t> found = box.ToHost();
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 128; ++column) {
        const int from_x = x + column;
        const int from_y = y + row;
        const bool inside = from_x >= 0 && from_x < static_cast<int>(kInner) && from_y >= 0 &&
                            from_y < static_cast<int>(kRows);
        const uint8_t expected =
            inside ? static_cast<uint8_t>(
                         bytes[static_cast<size_t>(from_y) * kStride + static_cast<size_t>(from_x)])
                   : 0;
        const int chunk = column / 16 ^ row % 8;
        ASSERT_EQ(found[static_cast<size_t>(row * 128 + chunk * 16 + column % 16)], expected)
            << "row " << row << ", byte " << column << " of the box at " << x << ", " << y;
      }
    }
  }
}

struct WgmmaCase {
  int tile_columns;
  bool signed_a;
  int cluster;
  int k_tiles;
};

void PrintTo(const WgmmaCase& c, std::ostream* out) {
  *out << c.tile_columns << (c.signed_a ? " signed" : " unsigned") << " cluster " << c.cluster
       << " tiles " << c.k_tiles;
}

class SmallWgmmaKernels : public SmallKernels, public ::testing::WithParamInterface<WgmmaCase> {};

TEST_P(SmallWgmmaKernels, IsTheExactProduct) {
  const WgmmaCase& c = GetParam();
  if (!traits_.has_wgmma) GTEST_SKIP() << "no wgmma but on compute capability 9.0";
  const size_t rows = 2 * kTileRows;
  const size_t columns = static_cast<size_t>(c.tile_columns) * 2;
  const size_t depth = static_cast<size_t>(c.k_tiles) * kTileBytes;
  const std::vector<int8_t> a = RandomBytes(rows * depth);
  const std::vector<int8_t> b = RandomBytes(columns * depth);
  DeviceArray<int8_t> device_a(a);
  DeviceArray<int8_t> device_b(b);
  DeviceArray<int32_t> device_out(rows * columns);
  TensorMap map_a;
  TensorMap map_b;
  ASSERT_EQ(MakeTensorMap2D(&map_a, device_a.data(), depth, rows, depth, kTileBytes, kTileRows),
            CudaStatus::kOk)
      << LastError();
  ASSERT_EQ(MakeTensorMap2D(&map_b, device_b.data(), depth, columns, depth, kTileBytes,
                            static_cast<uint32_t>(c.tile_columns / c.cluster)),
            CudaStatus::kOk)
      << LastError();
  ASSERT_EQ(LaunchWgmma(c.tile_columns, c.signed_a, c.cluster, map_a, map_b, static_cast<int>(rows),
                        static_cast<int>(columns), c.k_tiles, device_out.data()),
            CudaStatus::kOk)
      << LastError();
  const std::vector<int32_t> found = device_out.ToHost();
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; ++column)
      ASSERT_EQ(found[row * columns + column], ExpectedDot(a, b, row, column, depth, c.signed_a, 0))
          << "row " << row << ", column " << column;
  }
}

INSTANTIATE_TEST_SUITE_P(Tiles, SmallWgmmaKernels,
                         ::testing::Values(WgmmaCase{64, true, 1, 1}, WgmmaCase{64, false, 2, 7},
                                           WgmmaCase{96, true, 1, 2}, WgmmaCase{160, false, 2, 3},
                                           WgmmaCase{224, true, 2, 2}, WgmmaCase{96, false, 2, 3},
                                           WgmmaCase{160, true, 1, 1}, WgmmaCase{224, false, 1, 4},
                                           WgmmaCase{128, true, 2, 5}, WgmmaCase{128, false, 1, 4},
                                           WgmmaCase{192, false, 1, 3}, WgmmaCase{192, true, 2, 4},
                                           WgmmaCase{256, false, 2, 8},
                                           WgmmaCase{256, true, 1, 2}));

}  // namespace
}  // namespace octavo::cuda::testing
