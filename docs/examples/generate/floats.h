// What Octavo does not do: the float32 parts between the linears, and products with matrices that
// a file keeps in 16 bit. Plain loops that a compiler turns into vector instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <octavo/dtype.h>

namespace generate {

float Dot(const float* a, const float* b, int64_t size);
void AddScaled(float factor, const float* from, int64_t size, float* to);  // to += factor * from

// Widens F16, BF16 or F32 elements, exactly.
void Widen(const void* from, octavo::DType dtype, int64_t size, float* to);

// out = (x - mean) / sqrt(variance + epsilon) * weight + bias.
void LayerNorm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias,
               float epsilon, float* out);
// out = x / sqrt(mean of x squared + epsilon) * weight.
void RmsNorm(std::span<const float> x, std::span<const float> weight, float epsilon, float* out);

void Softmax(std::span<float> x);
// out = gelu(x), by tanh, as GPT-2 has it.
void Gelu(const float* x, int64_t size, float* out);
// out = silu(gate) * up.
void SiluTimes(const float* gate, const float* up, int64_t size, float* out);
// Turns the pairs (i, i + size / 2) of a head's features by the angles with these cosines and
// sines.
void Rotate(float* head, std::span<const float> cosines, std::span<const float> sines);

// sums[t] = x[t] . w for up to kRowsAtOnce rows of x, x_stride apart: the weights are read once.
inline constexpr int64_t kRowsAtOnce = 4;
void DotRows(const void* w, octavo::DType dtype, int64_t size, const float* x, int64_t x_stride,
             int64_t rows, float* sums);

}  // namespace generate
