// What the whole operations share: a lambda behind the ParallelFor hook, and sizes that
// cannot wrap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/kernels.h"

namespace octavo::kernels {

// Calls body(i) once for every i in [0, count), spread as `parallel` says; serially where it has no
// function.
template <class Body>
void RunParallel(const ParallelFor& parallel, size_t count, Body&& body) {
  if (parallel.run == nullptr || count <= 1) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  const auto task = [](void* context, int64_t i) {
    (*static_cast<Body*>(context))(static_cast<size_t>(i));
  };
  parallel.run(parallel.context, static_cast<int64_t>(count), task, &body);
}

// Sums and products that stay at SIZE_MAX once they overflow.
inline size_t SaturatingAdd(size_t a, size_t b) {
  size_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}
inline size_t SaturatingMul(size_t a, size_t b) {
  size_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}
inline size_t RoundUp64(size_t bytes) {
  return bytes > SIZE_MAX - 63 ? SIZE_MAX : (bytes + 63) & ~size_t{63};
}

inline bool IsAligned64(const void* memory) {
  return reinterpret_cast<uintptr_t>(memory) % 64 == 0;
}

inline bool IsKnown(ElementType type) {
  return type == ElementType::kFloat16 || type == ElementType::kBFloat16 ||
         type == ElementType::kFloat32;
}

}  // namespace octavo::kernels
