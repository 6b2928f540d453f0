// The CUDA kernels against the reference: all methods, scopes, rules and types, sizes around every
// tile, on every path of plan.h.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "tests/kernels/cuda/device_case.h"
#include "tests/kernels/cuda/devices.h"

namespace octavo::kernels {
namespace {

using reference::Method;
using testing::Random;

class DeviceProduct : public EachDevice {
 protected:
  void Check(const LinearCase& c) { CheckOnDevice(table(), device(), c); }
};
OCTAVO_FOR_EACH_DEVICE(DeviceProduct);

TEST_P(DeviceProduct, RandomCases) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(testing::SeedText(seed));
  Random random(seed);
  for (int i = 0; i < (IsEmulated() ? 150 : 2000); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    Check(RandomCase(random));
    if (HasFailure()) return;
  }
}

// Every kernel of the plan, with sizes around its tiles.
TEST_P(DeviceProduct, SizesAroundEveryTile) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(testing::SeedText(seed));
  Random random(seed);
  for (const auto& [tokens, in_features, out_features] :
       {std::tuple<size_t, size_t, size_t>{1, 128, 16},
        {1, 4096, 20},
        {1, 12000, 17},
        {1, 17000, 17},
        {7, 9500, 17},
        {2, 129, 17},
        {8, 640, 33},
        {16, 127, 8},
        {17, 300, 31},
        {33, 64, 40},
        {64, 2500, 9},
        {65, 128, 64},
        {65, 520, 65},
        {127, 70, 129},
        {128, 256, 255},
        {129, 640, 257},
        {300, 1030, 70},
        {260, 40, 520}}) {
    for (int i = 0; i < (IsEmulated() ? 2 : 20); ++i) {
      Check(RandomCase(random, tokens, in_features, out_features));
      if (HasFailure()) return;
    }
  }
}

TEST_P(DeviceProduct, AllOptionsAndTypes) {
  Random random(testing::TestSeed());
  for (const Method method : kMethods) {
    for (const Scope scope : kScopes) {
      if (scope == Scope::kToken && SpansRows(method)) continue;
      for (const RowRule rule : kRules) {
        for (const Activations activations : kActivations) {
          for (const ElementType x_type : kTypes) {
            LinearCase c;
            const size_t tokens = random.Chance(0.3) ? 70 : 5;
            c.x = RandomActivations(random, tokens, 70, 0.1);
            c.w = RandomMatrix(random, 9, 70);
            c.method = method;
            c.options = {6.0f, scope, rule, activations, RangeOver::kRow, random.Chance(0.3)};
            c.x_type = x_type;
            c.y_type = random.Pick(kTypes);
            c.w_type = random.Pick(kTypes);
            c.x_extra_stride = 3;
            c.y_extra_stride = 1;
            Check(c);
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

TEST_P(DeviceProduct, KeptColumns) {
  Random random(testing::TestSeed());
  constexpr size_t kIn = 67;
  std::vector<int32_t> all(kIn);
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> sets[] = {{0}, {kIn - 1}, {63, 64}, all};
  for (const std::vector<int32_t>& kept : sets) {
    for (const ElementType kept_type : kTypes) {
      for (const ElementType x_type : kTypes) {
        for (const Scope scope : kScopes) {
          LinearCase c;
          c.x = RandomActivations(random, random.Chance(0.5) ? 6 : 66, kIn, 0.2);
          c.w = RandomMatrix(random, 17, kIn);
          c.kept_index = kept;
          c.kept_type = kept_type;
          c.x_type = x_type;
          c.options.scope = scope;
          c.options.threshold = random.Pick(kThresholds);
          Check(c);
          if (HasFailure()) return;
        }
      }
    }
  }
}

// Some kernels pick the codes of the first so many outlier columns from weights that pass by.
TEST_P(DeviceProduct, AnyNumberOfOutlierColumns) {
  Random random(testing::TestSeed());
  constexpr size_t kIn = 700;
  for (const size_t tokens : {1, 5, 16, 40}) {
    for (const size_t count : {1, 15, 16, 17, 32, 33, 63, 64, 65, 130}) {
      for (const Scope scope : kScopes) {
        LinearCase c;
        c.x = RandomMatrix(random, tokens, kIn);
        for (size_t i = 0; i < count; ++i)
          c.x.at(random.Below(tokens), i * kIn / count + i % 3) =
              random.Chance(0.5) ? 7.5f : -20.0f;
        c.w = RandomMatrix(random, 40, kIn);
        c.options.scope = scope;
        Check(c);
        if (HasFailure()) return;
      }
    }
  }
}

// Small enough for compute-sanitizer, under which tests with "Small" in their name run on a GPU.
TEST_P(DeviceProduct, SmallCases) {
  Random random(testing::TestSeed());
  for (const size_t tokens : {1, 3, 16, 17, 65, 130}) {
    for (const Scope scope : kScopes) {
      for (const bool kept : {false, true}) {
        LinearCase c;
        c.x = RandomActivations(random, tokens, 150, 0.1);
        c.w = RandomMatrix(random, 70, 150);
        c.options.scope = scope;
        c.options.row_rule = random.Pick(kRules);
        c.options.activations = random.Pick(kActivations);
        c.x_type = random.Pick(kTypes);
        if (kept) c.kept_index = {0, 3, 64, 65, 130, 149};
        Check(c);
        if (HasFailure()) return;
      }
    }
  }
}

// The smallest sizes for which the plan takes each of its products here.
TEST_P(DeviceProduct, SmallestCaseOfEveryProduct) {
  struct Sizes {
    size_t tokens = 0, in_features = 0, out_features = 0;
    size_t macs() const { return tokens * in_features * out_features; }
  };
  std::map<std::string, Sizes> smallest;
  const size_t most = IsEmulated() ? 20 << 20 : 1200 << 20;
  const auto offer = [&](const Sizes& sizes) {
    CudaLinear linear;
    linear.out_features = sizes.out_features;
    linear.in_features = sizes.in_features;
    Sizes& best = smallest[table().product_name(device(), sizes.tokens, linear)];
    if (best.tokens == 0 || sizes.macs() < best.macs()) best = sizes;
  };
  for (const size_t tokens : {2, 17, 65, 129, 257, 513, 1025, 2049}) {
    for (size_t out_features = 16; out_features <= 9000;
         out_features += out_features < 1200 ? 16 : 512) {
      for (const size_t in_features : {70, 1000, 2500, 5000}) {
        const Sizes sizes = {tokens, in_features, out_features};
        if (sizes.macs() <= most) offer(sizes);
      }
    }
  }
  offer({2, 65794, 3});
  offer({65, 0, 3});  // no tensor map has an empty matrix
  const bool by_tiles = smallest.contains("wgmma_128x64");
  EXPECT_GE(smallest.size(), by_tiles ? 12u : 3u);

  Random random(testing::TestSeed());
  for (const auto& [name, sizes] : smallest) {
    SCOPED_TRACE(name);
    for (const Scope scope : kScopes) {
      LinearCase c;
      c.x = RandomActivations(random, sizes.tokens, sizes.in_features, 0.1);
      c.w = RandomMatrix(random, sizes.out_features, sizes.in_features);
      c.options.scope = scope;
      if (sizes.in_features == 70) c.kept_index = {0, 69};
      Check(c);
      if (HasFailure()) return;
    }
  }
}

// Codes at both ends everywhere, up to the length where acc leaves int32 and beyond it.
TEST_P(DeviceProduct, DeepRows) {
  Random random(testing::TestSeed());
  for (const auto& [in_features, method] :
       {std::tuple<size_t, Method>{33025, Method::kZeropointVector},
        {33026, Method::kZeropointVector},
        {65793, Method::kVectorWise},
        {65794, Method::kVectorWise}}) {
    for (const size_t tokens : {size_t{2}, size_t{65}}) {
      if (IsEmulated() && tokens > 2) continue;
      LinearCase c;
      c.x = RandomMatrix(random, tokens, in_features);
      c.w = RandomMatrix(random, 3, in_features);
      for (size_t k = 0; k < in_features; ++k) {
        c.x.at(0, k) = k == 0 ? 0.0f : 5.0f;  // u = 255
        c.w.at(0, k) = 1.0f;
        c.w.at(1, k) = -1.0f;
      }
      c.method = method;
      Check(c);
      if (HasFailure()) return;
    }
  }
}

TEST_P(DeviceProduct, ExtremeRows) {
  Random random(testing::TestSeed());
  for (const float threshold : kThresholds) {
    for (const Activations activations : kActivations) {
      for (const Scope scope : kScopes) {
        const RowRule rule = random.Pick(kRules);
        LinearCase c =
            ExtremeCase(random, {threshold, scope, rule, activations, RangeOver::kRow, false});
        Check(c);
        c.method = Method::kZeropointVector;
        Check(c);
        if (HasFailure()) return;
      }
    }
  }
}

// Infinities and NaN at any threshold.
TEST_P(DeviceProduct, NonFiniteEntries) {
  Random random(testing::TestSeed());
  const float specials[] = {std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};
  for (const ElementType x_type : kTypes) {
    for (const Scope scope : kScopes) {
      for (const float threshold : {0.0f, 6.0f}) {
        for (const size_t tokens : {size_t{7}, size_t{70}}) {
          LinearCase c;
          c.x = RandomActivations(random, tokens, 66);
          for (int i = 0; i < 6; ++i)
            c.x.at(random.Below(5), random.Below(66)) = random.Pick(specials);
          c.w = RandomMatrix(random, 17, 66);
          for (size_t k = 0; k < 66; ++k) c.w.at(3, k) = 0.0f;  // inf * 0
          c.x_type = x_type;
          c.y_type = random.Pick(kTypes);
          c.options.threshold = threshold;
          c.options.scope = scope;
          c.options.activations = random.Pick(kActivations);
          if (random.Chance(0.5)) {
            c.kept_index = {1, 7, 65};
            c.kept_type = random.Pick(kTypes);
          }
          Check(c);
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST_P(DeviceProduct, NothingToDo) {
  for (const auto& [tokens, in_features, out_features] :
       {std::tuple<size_t, size_t, size_t>{0, 5, 4}, {3, 0, 4}, {3, 5, 0}, {70, 0, 4}, {0, 0, 0}}) {
    for (const Scope scope : kScopes) {
      LinearCase c;
      c.x = reference::Matrix(tokens, in_features);
      c.w = reference::Matrix(out_features, in_features);
      c.bias.assign(out_features, 2.5f);
      c.options.scope = scope;
      Check(c);
      if (HasFailure()) return;
    }
  }
}

// Scope token: the bits of a row of y do not depend on the other rows, nor on how many there are.
TEST_P(DeviceProduct, ScopeTokenRowsStandAlone) {
  Random random(testing::TestSeed());
  const size_t counts[] = {1, 2, 16, 17, 64, 513};
  for (const bool kept : {false, true}) {
    for (const ElementType x_type : kTypes) {
      LinearCase c;
      const size_t tokens = IsEmulated() ? 130 : 513, in = 200, out = 70;
      c.x = RandomActivations(random, tokens, in, 0.1);
      c.w = RandomMatrix(random, out, in);
      c.x_type = x_type;
      c.options.scope = Scope::kToken;
      if (kept) c.kept_index = {0, 3, 64, 65, 130, 199};
      DeviceCase all(table(), device(), c);
      const std::vector<unsigned char> y = all.Multiply(all.Quantize(0, tokens));
      const size_t row_bytes = out * ElementBytes(c.y_type);
      for (const size_t count : counts) {
        if (count > tokens) continue;
        const size_t first = random.Below(tokens - count + 1);
        const std::vector<unsigned char> some = all.Forward(first, count);
        ASSERT_TRUE(std::equal(some.begin(), some.end(),
                               y.begin() + static_cast<ptrdiff_t>(first * row_bytes)))
            << count << " rows from " << first << " on, " << testing::NameOf(x_type);
      }
    }
  }
}

// One stream, one workspace, nothing waits: the kernels of a call may begin before the ones in
// front of them have finished, and must touch nothing of theirs until then.
TEST_P(DeviceProduct, CallsBackToBackKeepTheirOrder) {
  Random random(testing::TestSeed());
  for (const size_t tokens : {2, 10, 40, 140}) {
    for (const size_t in_features : {200, 66400}) {
      if (IsEmulated() && tokens * in_features > 200000) continue;
      for (const Scope scope : kScopes) {
        LinearCase c;
        c.x = RandomActivations(random, 2 * tokens, in_features, 0.0);
        // The second call has other outliers than the first, and many more.
        for (size_t m = 0; m < c.x.rows; ++m) {
          for (size_t k = 5; k < 200; k += m < tokens ? 60 : 4) c.x.at(m, k) = 30.0f;
        }
        c.w = RandomMatrix(random, 70, in_features);
        c.kept_index = {0, 3, 64, 65, 130, 199};
        c.options.scope = scope;
        c.options.row_rule = random.Pick(kRules);
        DeviceCase device_case(table(), device(), c);
        std::vector<std::vector<unsigned char>> expected;
        for (const size_t first : {size_t{0}, tokens})
          expected.push_back(device_case.Multiply(device_case.Quantize(first, tokens)));

        const DeviceBuffer y[2] = {{table(), device(), expected[0].size()},
                                   {table(), device(), expected[1].size()}};
        for (const size_t half : {0, 1}) {
          const CudaActivations quantized = device_case.Quantize(half * tokens, tokens);
          ASSERT_EQ(table().multiply(device(), quantized, device_case.linear(),
                                     {y[half].data(), c.y_type, c.w.rows}, nullptr, 0, nullptr),
                    CudaStatus::kOk)
              << table().last_error();
        }
        for (const size_t half : {0, 1})
          ASSERT_EQ(y[half].ToHost(), expected[half])
              << "call " << half << ": " << tokens << " x " << in_features;
      }
    }
  }
}

TEST_P(DeviceProduct, RefusesWhatTheContractExcludes) {
  LinearCase c;
  Random random(testing::TestSeed());
  c.x = RandomActivations(random, 2, 64);
  c.w = RandomMatrix(random, 8, 64);
  DeviceCase device_case(table(), device(), c);
  const CudaActivations good = device_case.Quantize(0, 2);
  CudaActivations quantized;
  const auto quantize = [&](const ActivationView& x, const ActivationOptions& options,
                            size_t bytes) {
    return table().quantize(device(), x, options, {}, device_case.workspace().data(), bytes,
                            nullptr, &quantized);
  };
  const size_t enough = device_case.workspace().bytes();
  EXPECT_EQ(quantize(good.x, {}, enough - 1), CudaStatus::kWorkspaceTooSmall);
  ActivationOptions options;
  options.threshold = -1.0f;
  EXPECT_EQ(quantize(good.x, options, enough), CudaStatus::kInvalidArgument);
  options = {};
  options.scope = Scope::kToken;
  options.range_over = RangeOver::kTensor;
  EXPECT_EQ(quantize(good.x, options, enough), CudaStatus::kInvalidArgument);
  ActivationView x = good.x;
  x.row_stride = 63;
  EXPECT_EQ(quantize(x, {}, enough), CudaStatus::kInvalidArgument);
  CudaLinear other = device_case.linear();
  other.in_features = 65;
  EXPECT_EQ(table().multiply(device(), good, other, {}, nullptr, 0, nullptr),
            CudaStatus::kInvalidArgument);
  EXPECT_NE(std::string(table().last_error()), "");
}

// Every product of the plan is reached by the sizes of these tests.
TEST_P(DeviceProduct, SizesReachEveryKernel) {
  std::set<std::string> names;
  for (const size_t tokens : {1, 17, 64, 65, 129, 300, 1024, 4096}) {
    for (const size_t out_features : {64, 256, 1024, 4096, 14336}) {
      CudaLinear linear;
      linear.out_features = out_features;
      for (const size_t in_features : {128, 4096, 70000}) {
        linear.in_features = in_features;
        names.insert(table().product_name(device(), tokens, linear));
      }
    }
  }
  EXPECT_TRUE(names.contains("few_tokens"));
  EXPECT_TRUE(names.contains("deep_rows"));
  EXPECT_GE(names.size(), 3u);
}

}  // namespace
}  // namespace octavo::kernels
