// Every table against the reference: all methods, scopes, rules, types, and sizes that are
// multiples of nothing.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "tests/kernels/linear_case.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

using reference::Method;
using testing::Random;

class Product : public EachTable {};
OCTAVO_FOR_EACH_TABLE(Product);

TEST_P(Product, AllOptionsAndTypes) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(testing::SeedText(seed));
  Random random(seed);
  for (const Method method : kMethods) {
    for (const Scope scope : kScopes) {
      if (scope == Scope::kToken && SpansRows(method)) continue;
      for (const RowRule rule : kRules) {
        for (const Activations activations : kActivations) {
          for (const ElementType x_type : kTypes) {
            for (const ElementType y_type : kTypes) {
              LinearCase c;
              c.x = RandomActivations(random, 5, 70, 0.1);
              c.w = RandomMatrix(random, 9, 70);
              c.method = method;
              c.options = {6.0f, scope, rule, activations, RangeOver::kRow, random.Chance(0.3)};
              c.x_type = x_type;
              c.y_type = y_type;
              c.w_type = random.Pick(kTypes);
              c.x_extra_stride = 3;
              c.y_extra_stride = 1;
              CheckAgainstReference(table(), c);
              if (HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
}

TEST_P(Product, TwoThousandRandomCases) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(testing::SeedText(seed));
  RecordProperty("seed", std::to_string(seed));
  Random random(seed);
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    CheckAgainstReference(table(), RandomCase(random));
    if (HasFailure()) return;
  }
}

// Sizes of every magnitude are alike likely.
TEST_P(Product, AccOfTenThousandRandomShapes) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(testing::SeedText(seed));
  RecordProperty("seed", std::to_string(seed));
  Random random(seed);
  const auto size = [&](float most) {
    return static_cast<size_t>(std::exp2(random.Uniform(0, std::log2(most))));
  };
  for (int i = 0; i < 10000; ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    const size_t tokens = size(100), in_features = size(300), out_features = size(150);
    CheckAccAgainstReference(table(), RandomCase(random, tokens, in_features, out_features));
    if (HasFailure()) return;
  }
}

TEST_P(Product, SizesThatAreMultiplesOfNothing) {
  Random random(testing::TestSeed());
  for (const size_t tokens : {1, 2, 3, 63, 64, 65}) {
    for (const size_t in_features : kSizes) {
      for (const size_t out_features : kSizes) {
        if (tokens > 3 && in_features * out_features > 3000) continue;  // keeps the reference fast
        LinearCase c;
        c.x = RandomActivations(random, tokens, in_features);
        c.w = RandomMatrix(random, out_features, in_features);
        c.y_type = ElementType::kFloat16;
        c.options.activations = random.Pick(kActivations);
        CheckAgainstReference(table(), c);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Beyond one chunk and one block of every table.
TEST_P(Product, LongRowsAndManyBlocks) {
  Random random(testing::TestSeed());
  for (const auto& [tokens, in_features, out_features] :
       {std::tuple{3, 1023, 67}, {2, 1025, 130}, {67, 2049, 3}, {131, 70, 131}, {1, 4099, 5}}) {
    for (const Scope scope : kScopes) {
      LinearCase c;
      c.x =
          RandomActivations(random, static_cast<size_t>(tokens), static_cast<size_t>(in_features));
      c.w =
          RandomMatrix(random, static_cast<size_t>(out_features), static_cast<size_t>(in_features));
      c.options.scope = scope;
      c.kept_index = {0, 5, in_features - 1};
      CheckAgainstReference(table(), c);
      if (HasFatalFailure()) return;
    }
  }
}

// Blocks wider than a panel of tiles, bands of one to three tiles whose last overlap, products that
// are cut in depth, and more outlier columns than are gathered at once.
TEST_P(Product, WideBlocks) {
  Random random(testing::TestSeed());
  for (const auto& [tokens, in_features, out_features] :
       {std::tuple{300, 65, 70}, {34, 4161, 130}, {49, 8257, 17}, {97, 129, 600}, {5, 200, 260}}) {
    LinearCase c;
    c.x = RandomActivations(random, static_cast<size_t>(tokens), static_cast<size_t>(in_features),
                            0.05);
    c.w = RandomMatrix(random, static_cast<size_t>(out_features), static_cast<size_t>(in_features));
    c.options.activations = random.Pick(kActivations);
    c.options.scope = random.Pick(kScopes);
    c.y_type = random.Pick(kTypes);
    CheckAgainstReference(table(), c);
    if (HasFatalFailure()) return;
  }
}

TEST_P(Product, KeptColumns) {
  Random random(testing::TestSeed());
  constexpr size_t kIn = 67;
  std::vector<int32_t> all(kIn);
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> sets[] = {{0}, {kIn - 1}, {0, kIn - 1}, {63}, {64}, {63, 64}, all};
  for (const std::vector<int32_t>& kept : sets) {
    for (const ElementType kept_type : kTypes) {
      for (const ElementType x_type : kTypes) {
        for (const Scope scope : kScopes) {
          LinearCase c;
          c.x = RandomActivations(random, 6, kIn, 0.2);
          c.w = RandomMatrix(random, 17, kIn);
          c.kept_index = kept;
          c.kept_type = kept_type;
          c.x_type = x_type;
          c.options.scope = scope;
          c.options.threshold = random.Pick(kThresholds);
          CheckAgainstReference(table(), c);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(Product, BiasOfEveryType) {
  Random random(testing::TestSeed());
  for (const ElementType bias_type : kTypes) {
    for (const ElementType y_type : kTypes) {
      LinearCase c;
      c.x = RandomActivations(random, 3, 33);
      c.w = RandomMatrix(random, 70, 33);
      c.bias = RandomMatrix(random, 1, 70, 100.0f).data;
      c.bias_type = bias_type;
      c.y_type = y_type;
      CheckAgainstReference(table(), c);
    }
  }
}

TEST_P(Product, ExtremeRows) {
  Random random(testing::TestSeed());
  for (const float threshold : kThresholds) {
    for (const Activations activations : kActivations) {
      for (const Scope scope : kScopes) {
        for (const RowRule rule : kRules) {
          LinearCase c =
              ExtremeCase(random, {threshold, scope, rule, activations, RangeOver::kRow, false});
          CheckAgainstReference(table(), c);
          c.method = reference::Method::kZeropointVector;
          CheckAgainstReference(table(), c);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Infinities and NaN at any threshold; rows without one are as if the others were finite outliers.
TEST_P(Product, NonFiniteEntries) {
  Random random(testing::TestSeed());
  const float specials[] = {std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};
  for (const ElementType x_type : kTypes) {
    for (const Scope scope : kScopes) {
      for (const float threshold : kThresholds) {
        LinearCase c;
        c.x = RandomActivations(random, 7, 66);
        for (int i = 0; i < 6; ++i)
          c.x.at(random.Below(5), random.Below(66)) = random.Pick(specials);
        c.w = RandomMatrix(random, 17, 66);
        for (size_t k = 0; k < 66; ++k) c.w.at(3, k) = 0.0f;  // inf * 0
        c.x_type = x_type;
        c.y_type = random.Pick(kTypes);
        c.options.threshold = threshold;
        c.options.scope = scope;
        c.options.activations = random.Pick(kActivations);
        if (random.Chance(0.5)) c.kept_index = {1, 7, 65};
        CheckAgainstReference(table(), c);
        if (HasFatalFailure()) return;

        PreparedCase prepared(table(), c);
        const QuantizedCase quantized(table(), prepared);
        const reference::Matrix y =
            RunMultiply(table(), prepared, *quantized, ElementType::kFloat32).values();
        for (size_t m = 5; m < 7; ++m) {
          for (size_t n = 0; n < 17; ++n) ASSERT_TRUE(std::isfinite(y.at(m, n))) << m << " " << n;
        }
      }
    }
  }
}

TEST_P(Product, NothingToDo) {
  for (const auto& [tokens, in_features, out_features] :
       {std::tuple{0, 5, 4}, {3, 0, 4}, {3, 5, 0}, {0, 0, 0}, {1, 0, 1}}) {
    for (const Scope scope : kScopes) {
      LinearCase c;
      c.x = reference::Matrix(static_cast<size_t>(tokens), static_cast<size_t>(in_features));
      c.w = reference::Matrix(static_cast<size_t>(out_features), static_cast<size_t>(in_features));
      c.bias.assign(static_cast<size_t>(out_features), 2.5f);
      c.options.scope = scope;
      CheckAgainstReference(table(), c);
      if (in_features == 0 && tokens > 0) {
        PreparedCase prepared(table(), c);
        const QuantizedCase quantized(table(), prepared);
        for (const float y :
             RunMultiply(table(), prepared, *quantized, ElementType::kFloat16).values().data) {
          ASSERT_EQ(y, 2.5f);
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
