// What Octavo does not do: the parts between the linears, and products with matrices that
// a file keeps in 16 bit. Plain loops that a compiler turns into vector instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <octavo/dtype.h>

#include "real.h"

namespace generate {

Real Dot(const Real* a, const Real* b, int64_t size);
void AddScaled(Real factor, const Real* from, int64_t size, Real* to);  // to += factor * from

// Widens F16, BF16 or F32 elements, exactly.
void Widen(const void* from, octavo::DType dtype, int64_t size, Real* to);

// out = (x - mean) / sqrt(variance + epsilon) * weight + bias.
void LayerNorm(std::span<const Real> x, std::span<const Real> weight, std::span<const Real> bias,
               Real epsilon, Real* out);
// out = x / sqrt(mean of x squared + epsilon) * weight.
void RmsNorm(std::span<const Real> x, std::span<const Real> weight, Real epsilon, Real* out);

void Softmax(std::span<Real> x);
// out = gelu(x), by tanh, as GPT-2 has it.
void Gelu(const Real* x, int64_t size, Real* out);
// out = silu(gate) * up.
void SiluTimes(const Real* gate, const Real* up, int64_t size, Real* out);
// Turns the pairs (i, i + size / 2) of a head's features by the angles with these cosines and
// sines.
void Rotate(Real* head, std::span<const Real> cosines, std::span<const Real> sines);

// sums[t] = x[t] . w for up to kRowsAtOnce rows of x, x_stride apart: the weights are read once.
inline constexpr int64_t kRowsAtOnce = 4;
void DotRows(const void* w, octavo::DType dtype, int64_t size, const Real* x, int64_t x_stride,
             int64_t rows, Real* sums);

}  // namespace generate
