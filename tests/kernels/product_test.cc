// Every table against the reference: all methods, scopes, rules, types, and sizes that are
// multiples of nothing.
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "tests/kernels/linear_case.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

using reference::Method;
using testing::Random;

constexpr ElementType kTypes[] = {ElementType::kFloat16, ElementType::kBFloat16,
                                  ElementType::kFloat32};
constexpr Method kMethods[] = {Method::kVectorWise, Method::kRowWise, Method::kTensorWise,
                               Method::kZeropointTensor, Method::kZeropointVector};
constexpr Scope kScopes[] = {Scope::kBatch, Scope::kToken};
constexpr RowRule kRules[] = {RowRule::kInlierColumns, RowRule::kBelowThreshold};
constexpr Activations kActivations[] = {Activations::kAsymmetric, Activations::kSymmetric};
constexpr size_t kSizes[] = {1, 2, 3, 15, 16, 17, 63, 64, 65, 97, 127};
constexpr float kThresholds[] = {0.0f, 1e-30f, 3.0f,
                                 6.0f, 1e30f,  std::numeric_limits<float>::infinity()};

bool SpansRows(Method method) {
  return method == Method::kTensorWise || method == Method::kZeropointTensor;
}

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

}  // namespace
}  // namespace octavo::kernels
