#include "octavo/product_check.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference/bound.h"
#include "kernels/reference/llm_int8.h"
#include "octavo/half.h"

namespace octavo::kernels {
namespace {

float ValueAt(const void* data, ElementType type, size_t i) {
  switch (type) {
    case ElementType::kFloat16:
      return HalfToFloat(static_cast<const uint16_t*>(data)[i]);
    case ElementType::kBFloat16:
      return BFloat16ToFloat(static_cast<const uint16_t*>(data)[i]);
    case ElementType::kFloat32:
      break;
  }
  return static_cast<const float*>(data)[i];
}

// The asked rows of X, and a last one that stands for all others. They matter to the asked ones by
// their outlier columns alone, so it has the largest magnitude of each column.
reference::Matrix RowsWithWitness(const ActivationView& x, std::span<const size_t> rows) {
  reference::Matrix some(rows.size() + 1, x.in_features);
  for (size_t m = 0; m < x.tokens; ++m) {
    for (size_t k = 0; k < x.in_features; ++k) {
      const float magnitude = std::abs(ValueAt(x.data, x.type, m * x.row_stride + k));
      float& largest = some.at(rows.size(), k);
      largest = std::isfinite(magnitude) ? std::max(largest, magnitude) : INFINITY;
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t k = 0; k < x.in_features; ++k)
      some.at(i, k) = ValueAt(x.data, x.type, rows[i] * x.row_stride + k);
  }
  return some;
}

reference::QuantizedWeights SomeWeights(const LinearView& linear, std::span<const float> absmax,
                                        std::span<const size_t> features) {
  reference::QuantizedWeights some{features.size(), linear.in_features, {}, {}, {}, {}, {}};
  for (const size_t n : features) {
    const int8_t* codes = linear.codes + n * linear.in_features;
    some.codes.insert(some.codes.end(), codes, codes + linear.in_features);
    some.absmax.push_back(absmax[n]);
    some.code_sum.push_back(linear.code_sum[n]);
  }
  return some;
}

reference::KeptColumns SomeKept(const LinearView& linear, std::span<const size_t> features) {
  reference::KeptColumns kept;
  kept.index.assign(linear.kept_index, linear.kept_index + linear.num_kept);
  kept.weight = reference::Matrix(linear.num_kept, features.size());
  for (size_t j = 0; j < linear.num_kept; ++j) {
    for (size_t i = 0; i < features.size(); ++i) {
      kept.weight.at(j, i) =
          ValueAt(linear.kept_weight, linear.kept_type, j * linear.out_features + features[i]);
    }
  }
  return kept;
}

}  // namespace

ProductCheck CheckProduct(const ActivationView& x, const ActivationOptions& options,
                          const LinearView& linear, std::span<const float> absmax,
                          const OutputView& y, std::span<const size_t> rows,
                          std::span<const size_t> features, const BackendArithmetic& arithmetic) {
  const reference::Matrix some_x = RowsWithWitness(x, rows);
  const reference::KeptColumns kept = SomeKept(linear, features);
  const std::vector<reference::ExactOutput> exact = reference::MultiplyExactly(
      some_x, reference::QuantizeActivations(some_x, options, kept.index),
      SomeWeights(linear, absmax, features), kept, {});

  ProductCheck check;
  for (size_t i = 0; i < rows.size() * features.size(); ++i) {
    const size_t m = rows[i / features.size()], n = features[i % features.size()];
    const double value = ValueAt(y.data, y.type, m * y.row_stride + n);
    const bool is_good = reference::IsWithinBound(value, y.type, exact[i], arithmetic);
    double share =
        std::abs(value - exact[i].y) / reference::AllowedError(y.type, exact[i], arithmetic);
    if (std::isnan(share)) share = is_good ? 0 : INFINITY;
    ++check.compared;
    if (!is_good) ++check.beyond_bound;
    if (check.compared == 1 || share > check.worst_share) {
      check.worst_share = share;
      check.worst_row = m;
      check.worst_feature = n;
    }
  }
  return check;
}

}  // namespace octavo::kernels
