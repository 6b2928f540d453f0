// The one tolerance: the bound E of docs/numerics.md, section 7 (section 10 where partial sums are
// added up), with its derivation there. Everything else (codes, scales, zero points, acc) is
// compared bit for bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/reference/llm_int8.h"
#include "octavo/kernels.h"
#include "octavo/product_check.h"

namespace octavo::reference {

using kernels::BackendArithmetic;

// E for one output.
inline double ErrorBound(const ExactOutput& exact, const BackendArithmetic& backend = {}) {
  const double terms = static_cast<double>(exact.unquantized) * backend.terms_per_x;
  const double additions = backend.ranks - 1;
  const double roundings = (backend.residual ? 3 * terms + 29 : terms + 8) + additions;
  return roundings * backend.rounding * exact.magnitude +
         (static_cast<double>(exact.unquantized) + 4 + 2 * additions) * 0x1p-150;
}

struct FloatFormat {
  int precision;     // bits of the significand, the hidden one included
  int min_exponent;  // of the smallest normal number
  double overflow;   // from here on rounding gives infinity
};

inline FloatFormat FormatOf(kernels::ElementType type) {
  switch (type) {
    case kernels::ElementType::kFloat16:
      return {11, -14, 65520.0};
    case kernels::ElementType::kBFloat16:
      return {8, -126, (2 - 0x1p-8) * 0x1p127};
    case kernels::ElementType::kFloat32:
      break;
  }
  return {24, -126, (2 - 0x1p-24) * 0x1p127};
}

// The distance of neighbours of the type at `value`; at least its smallest subnormal.
inline double UlpAt(kernels::ElementType type, double value) {
  const FloatFormat format = FormatOf(type);
  const int exponent =
      value == 0 ? format.min_exponent : std::max(std::ilogb(value), format.min_exponent);
  return std::ldexp(1.0, exponent - format.precision + 1);
}

// How far y, widened from `type`, may be from finite y64.
inline double AllowedError(kernels::ElementType type, const ExactOutput& exact,
                           const BackendArithmetic& backend = {}) {
  const double error = ErrorBound(exact, backend);
  return 0.5 * UlpAt(type, std::abs(exact.y) + error) + error;
}

// Whether y, widened from `type`, is within the bound. NaN and infinities must match exactly, but
// for an infinity where the type overflows, and for sums that float32 cannot hold.
inline bool IsWithinBound(double y, kernels::ElementType type, const ExactOutput& exact,
                          const BackendArithmetic& backend = {}) {
  if (!std::isfinite(y) && exact.may_overflow) return true;
  if (std::isnan(exact.y)) return std::isnan(y);
  if (std::isinf(exact.y)) return y == exact.y;
  const double error = ErrorBound(exact, backend);
  if (std::isinf(y)) {
    return std::abs(exact.y) + error >= FormatOf(type).overflow &&
           (std::signbit(y) == std::signbit(exact.y) || std::abs(exact.y) <= error);
  }
  return std::abs(y - exact.y) <= AllowedError(type, exact, backend);  // false for a NaN y
}

}  // namespace octavo::reference
