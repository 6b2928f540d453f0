// Scope token: a row's result is the same bits whatever the other rows, their number, its place and
// the threads.
#include <gtest/gtest.h>

#include <limits>

#include "octavo/thread_pool.h"
#include "tests/kernels/linear_case.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

class ScopeToken : public EachTable {};
OCTAVO_FOR_EACH_TABLE(ScopeToken);

// A row unlike the one under test: outliers in other columns, non-finite values, or nothing at all.
void FillNeighbour(testing::Random& random, reference::Matrix& x, size_t row) {
  const size_t kind = random.Below(4);
  for (size_t k = 0; k < x.cols; ++k) {
    x.at(row, k) = kind == 0 ? 0.0f : random.Normal(kind == 1 ? 10.0f : 1.0f);
    if (kind == 3 && random.Chance(0.1)) x.at(row, k) = std::numeric_limits<float>::quiet_NaN();
  }
}

TEST_P(ScopeToken, RowsDoNotDependOnTheirNeighbours) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(testing::SeedText(seed));
  testing::Random random(seed);
  ThreadPool pool(3);
  for (const ElementType type :
       {ElementType::kFloat16, ElementType::kBFloat16, ElementType::kFloat32}) {
    for (const bool keeps_columns : {false, true}) {
      LinearCase c;
      c.options.scope = Scope::kToken;
      c.x_type = c.y_type = type;
      c.w = RandomMatrix(random, 75, 203);
      c.bias = RandomMatrix(random, 1, 75).data;
      if (keeps_columns) c.kept_index = {0, 77, 202};
      const reference::Matrix row = RandomActivations(random, 1, 203, 0.2);
      std::vector<float> expected;
      for (const size_t tokens : {1, 2, 16, 17, 64, 513}) {
        for (const bool threads : {false, true}) {
          c.x = reference::Matrix(tokens, 203);
          for (size_t m = 0; m < tokens; ++m) FillNeighbour(random, c.x, m);
          const size_t place = random.Below(tokens);
          for (size_t k = 0; k < 203; ++k) c.x.at(place, k) = row.at(0, k);
          const ParallelFor parallel = threads ? pool.parallel_for() : SerialFor();
          PreparedCase prepared(table(), c);
          const QuantizedCase quantized(table(), prepared, parallel);
          const reference::Matrix y =
              RunMultiply(table(), prepared, *quantized, type, 0, parallel).values();
          const std::vector<float> result(y.data.begin() + static_cast<ptrdiff_t>(place * 75),
                                          y.data.begin() + static_cast<ptrdiff_t>(place * 75 + 75));
          if (expected.empty()) expected = result;
          ASSERT_EQ(result, expected) << tokens << " tokens, row " << place;
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
