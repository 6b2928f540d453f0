// Whether a backend's y is what docs/numerics.md defines: for programs that want to know before
// they trust or time it. Plain loops in float64, so it is for some rows and features, not for all.
#pragma once

#include <cstddef>
#include <span>

#include "octavo/kernels.h"

namespace octavo::kernels {

struct ProductCheck {
  size_t compared = 0;
  size_t beyond_bound = 0;
  // The element with the largest error for its bound, and that share; 1 is the bound itself, and
  // rounding to 16 bit alone comes near it.
  size_t worst_row = 0, worst_feature = 0;
  double worst_share = 0;
};

// What a backend's outlier product is made of (docs/numerics.md, section 7).
struct BackendArithmetic {
  double terms_per_x = 1;     // 16-bit terms that one X is split into; 1 where X stays float32
  double rounding = 0x1p-24;  // 2^-23 where the hardware truncates
  // Corrects sub-threshold entries of outlier columns after the int8 product.
  bool residual = false;
  double ranks = 1;  // float32 partial sums that were added up (section 10)
};

// Compares y with the definition at every (row, feature) of `rows` and `features`, by the bound of
// section 7; all of X decides what an outlier column is. `absmax`: of every output feature, what
// linear.multiplier was made from. Memory of the host. Requires: linear in layout plain,
// vector-wise (no zero points), without bias; options.range_over kRow.
ProductCheck CheckProduct(const ActivationView& x, const ActivationOptions& options,
                          const LinearView& linear, std::span<const float> absmax,
                          const OutputView& y, std::span<const size_t> rows,
                          std::span<const size_t> features, const BackendArithmetic& arithmetic);

}  // namespace octavo::kernels
