// Tensor-core products of one warp; see primitives.h.
//
// Fragments, from the PTX ISA (g = lane / 4, t = lane % 4). All of A is by rows, B by columns: a
// register holds neighbors along the summed dimension k, lowest k in the lowest bits.
//
//   m16n8k32, 8 bit    a[0] row g,     k 4t .. 4t+3        b[0] column g, k 4t .. 4t+3
//                      a[1] row g + 8, k 4t .. 4t+3        b[1] column g, k 4t+16 .. 4t+19
//                      a[2] row g,     k 4t+16 .. 4t+19
//                      a[3] row g + 8, k 4t+16 .. 4t+19
//   m16n8k16, 16 bit   a[0] row g,     k 2t, 2t+1          b[0] column g, k 2t, 2t+1
//                      a[1] row g + 8, k 2t, 2t+1          b[1] column g, k 2t+8, 2t+9
//                      a[2] row g,     k 2t+8, 2t+9
//                      a[3] row g + 8, k 2t+8, 2t+9
//   both               d[0], d[1] row g, columns 2t, 2t+1;  d[2], d[3] row g + 8, the same columns
//
// In bytes the two are the same, so LoadMatrix4 loads both: its four 8x8 matrices of 16 bits are
// 8 rows of 16 bytes, lane l gives the address of row l % 8 of matrix l / 8, and r[i] is then row
// g, bytes 4t .. 4t+3 of matrix i.
#pragma once

#include <cstdint>

#include "kernels/cuda/ptx_basic.h"
#include "kernels/cuda/qualifiers.h"

namespace octavo::cuda {

// `shared_row` is 16-byte aligned.
OCTAVO_DEVICE void LoadMatrix4(uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(shared_row))
               : "memory");
}

#define OCTAVO_MMA_M16N8K32(type)                                       \
  asm("mma.sync.aligned.m16n8k32.row.col.s32." type                     \
      ".s8.s32 "                                                        \
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                  \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#define OCTAVO_MMA_M8N8K16(type, d0, d1, a, b)     \
  asm("mma.sync.aligned.m8n8k16.row.col.s32." type \
      ".s8.s32 "                                   \
      "{%0, %1}, {%2}, {%3}, {%0, %1};"            \
      : "+r"(d0), "+r"(d1)                         \
      : "r"(a), "r"(b))

// d += A * B in int32 that wraps: A 16 x 32 of int8 (kSignedA) or uint8, B 32 x 8 of int8.
template <bool kSignedA>
OCTAVO_DEVICE void MmaI8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  if constexpr (kSignedA) {
    OCTAVO_MMA_M16N8K32("s8");
  } else {
    OCTAVO_MMA_M16N8K32("u8");
  }
#else
  OCTAVO_UNROLL
  for (int half = 0; half < 2; ++half) {
    if constexpr (kSignedA) {
      OCTAVO_MMA_M8N8K16("s8", d[0], d[1], a[2 * half], b[half]);
      OCTAVO_MMA_M8N8K16("s8", d[2], d[3], a[2 * half + 1], b[half]);
    } else {
      OCTAVO_MMA_M8N8K16("u8", d[0], d[1], a[2 * half], b[half]);
      OCTAVO_MMA_M8N8K16("u8", d[2], d[3], a[2 * half + 1], b[half]);
    }
  }
#endif
}
#undef OCTAVO_MMA_M16N8K32
#undef OCTAVO_MMA_M8N8K16

// d += A * B, A 16 x 16 and B 16 x 8 of fp16; products are exact, sums of hardware precision.
OCTAVO_DEVICE void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  OCTAVO_UNROLL
  for (int half = 0; half < 2; ++half) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
  }
#endif
}

// The same with bf16. sm_75 has no such instruction: products on the ordinary units, slow but
// right.
OCTAVO_DEVICE void MmaBF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  const auto low = [](uint32_t pair) { return __uint_as_float(pair << 16); };
  const auto high = [](uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); };
  const int lane = LaneIdx();
  OCTAVO_UNROLL
  for (int t = 0; t < 4; ++t) {  // the lanes that hold k 2t, 2t+1, 2t+8, 2t+9
    OCTAVO_UNROLL
    for (int half = 0; half < 2; ++half) {
      OCTAVO_UNROLL
      for (int column = 0; column < 2; ++column) {
        const uint32_t y = Shuffle(b[half], (2 * (lane % 4) + column) * 4 + t);
        OCTAVO_UNROLL
        for (int row = 0; row < 2; ++row) {
          const uint32_t x = Shuffle(a[2 * half + row], lane / 4 * 4 + t);
          float& sum = d[2 * row + column];
          sum = FmaRn(high(x), high(y), FmaRn(low(x), low(y), sum));
        }
      }
    }
  }
#endif
}

}  // namespace octavo::cuda
