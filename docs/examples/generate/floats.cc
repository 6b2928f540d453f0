#include "floats.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>

#include <octavo/half.h>

#ifdef __F16C__
#include <immintrin.h>
#endif

namespace generate {
namespace {

using octavo::DType;

// Sums are kept in this many lanes, so that the compiler may use vectors of up to as many numbers.
constexpr int64_t kLanes = 16;
using Lanes = std::array<Real, kLanes>;

Real Total(const Lanes& lanes) {
  Lanes sums = lanes;
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sums[0];
}

// kLanes elements of a stored type, widened.
struct Half {
  using Stored = uint16_t;
  static Real One(uint16_t bits) { return octavo::kernels::HalfToFloat(bits); }
  static void Many(const uint16_t* from, Real* to) {
#if defined(__F16C__) && \
    !defined(GENERATE_DOUBLE)  // compilers find this instruction for single numbers only
    for (int64_t i = 0; i < kLanes; i += 8)
      _mm256_storeu_ps(
          to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#else
    for (int64_t i = 0; i < kLanes; ++i) to[i] = One(from[i]);
#endif
  }
};
struct BFloat16 {
  using Stored = uint16_t;
  static Real One(uint16_t bits) { return octavo::kernels::BFloat16ToFloat(bits); }
  static void Many(const uint16_t* from, Real* to) {
    for (int64_t i = 0; i < kLanes; ++i) to[i] = One(from[i]);
  }
};
template <class Number>
struct Plain {
  using Stored = Number;
  static Real One(Number value) { return value; }
  static void Many(const Number* from, Real* to) { std::copy_n(from, kLanes, to); }
};

template <class Visitor>
void WithType(DType dtype, Visitor&& visitor) {
  if (dtype == DType::kF16) return visitor(Half());
  if (dtype == DType::kBF16) return visitor(BFloat16());
  visitor(Plain<float>());
}

template <class Type, int64_t kRows>
void DotRowsOf(const typename Type::Stored* w, int64_t size, const Real* x, int64_t x_stride,
               Real* sums) {
  Lanes lanes[kRows] = {};
  int64_t k = 0;
  for (; k + kLanes <= size; k += kLanes) {
    Lanes weights;
    Type::Many(w + k, weights.data());
    for (int64_t t = 0; t < kRows; ++t)
      for (int64_t i = 0; i < kLanes; ++i) lanes[t][i] += weights[i] * x[t * x_stride + k + i];
  }
  for (; k < size; ++k)
    for (int64_t t = 0; t < kRows; ++t) lanes[t][0] += Type::One(w[k]) * x[t * x_stride + k];
  for (int64_t t = 0; t < kRows; ++t) sums[t] = Total(lanes[t]);
}

}  // namespace

void DotRows(const void* w, DType dtype, int64_t size, const Real* x, int64_t x_stride,
             int64_t rows, Real* sums) {
  WithType(dtype, [&]<class Type>(Type) {
    const auto* stored = static_cast<const typename Type::Stored*>(w);
    if (rows == kRowsAtOnce) return DotRowsOf<Type, kRowsAtOnce>(stored, size, x, x_stride, sums);
    for (int64_t t = 0; t < rows; ++t)
      DotRowsOf<Type, 1>(stored, size, x + t * x_stride, x_stride, sums + t);
  });
}

Real Dot(const Real* a, const Real* b, int64_t size) {
  Real sum = 0;
  DotRowsOf<Plain<Real>, 1>(a, size, b, size, &sum);
  return sum;
}

void AddScaled(Real factor, const Real* from, int64_t size, Real* to) {
  for (int64_t i = 0; i < size; ++i) to[i] += factor * from[i];
}

void Widen(const void* from, DType dtype, int64_t size, Real* to) {
  WithType(dtype, [&]<class Type>(Type) {
    const auto* stored = static_cast<const typename Type::Stored*>(from);
    for (int64_t i = 0; i < size; ++i) to[i] = Type::One(stored[i]);
  });
}

void LayerNorm(std::span<const Real> x, std::span<const Real> weight, std::span<const Real> bias,
               Real epsilon, Real* out) {
  double sum = 0, squares = 0;
  for (const Real value : x) sum += value;
  const double mean = sum / static_cast<double>(x.size());
  for (const Real value : x) squares += (value - mean) * (value - mean);
  const Real scale =
      static_cast<Real>(1 / std::sqrt(squares / static_cast<double>(x.size()) + epsilon));
  const Real center = static_cast<Real>(mean);
  for (size_t i = 0; i < x.size(); ++i) out[i] = (x[i] - center) * scale * weight[i] + bias[i];
}

void RmsNorm(std::span<const Real> x, std::span<const Real> weight, Real epsilon, Real* out) {
  const int64_t size = static_cast<int64_t>(x.size());
  const Real mean_square = Dot(x.data(), x.data(), size) / static_cast<Real>(size);
  const Real scale = 1 / std::sqrt(mean_square + epsilon);
  for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale * weight[i];
}

void Softmax(std::span<Real> x) {
  const Real largest = *std::max_element(x.begin(), x.end());
  Real sum = 0;
  for (Real& value : x) sum += value = std::exp(value - largest);
  for (Real& value : x) value /= sum;
}

void Gelu(const Real* x, int64_t size, Real* out) {
  const Real root = std::sqrt(2 / std::numbers::pi_v<Real>), cube{0.044715};
  for (int64_t i = 0; i < size; ++i)
    out[i] = x[i] / 2 * (1 + std::tanh(root * (x[i] + cube * x[i] * x[i] * x[i])));
}

void SiluTimes(const Real* gate, const Real* up, int64_t size, Real* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

void Rotate(Real* head, std::span<const Real> cosines, std::span<const Real> sines) {
  const size_t half = cosines.size();
  for (size_t i = 0; i < half; ++i) {
    const Real a = head[i], b = head[i + half];
    head[i] = a * cosines[i] - b * sines[i];
    head[i + half] = b * cosines[i] + a * sines[i];
  }
}

}  // namespace generate
