// Small kernels that each use a few primitives of kernels/cuda, for tests of the emulation and, the
// same source, of a real device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.h"

namespace octavo::cuda::testing {

// One warp: d += A * B, by LoadMatrix4 and MmaI8. a: [16][32] int8 or uint8, b: [8][32] int8 (the
// columns of B), d: [16][8], all 16-byte aligned.
CudaStatus LaunchMmaI8(bool signed_a, const void* a, const int8_t* b, int32_t* d);
// The same with MmaF16 or MmaBF16. a: [16][16], b: [8][16].
CudaStatus LaunchMma16(bool bfloat16, const uint16_t* a, const uint16_t* b, float* d);

// One warp; out: [4][32], by lane: Shuffle of in[lane] from lane (7 * lane + 3) % 32, ShuffleXor by
// 11, Ballot of in[lane] % 3 == 0, PopCount of that.
CudaStatus LaunchExchange(const int32_t* in, int32_t* out);

inline constexpr int kNumFloatResults = 13;
// Each float operation on count pairs. out: [kNumFloatResults][count], bits, in the order of
// FloatResults in primitives_test.cc.
CudaStatus LaunchArithmetic(const float* x, const float* y, size_t count, uint32_t* out);

// One block adds `rows` rows of 512 int32 with 128 threads, through a ring of shared memory that
// cp.async fills; the rows between `rows` and a multiple of the ring count as 0. in: 16-byte
// aligned.
CudaStatus LaunchAddRows(const int32_t* in, int rows, int32_t* out);

// Three warps pass a value on through NamedSync; out[0] is 3 if each waited for the one before it.
// All 128 threads set bits in out[1] by AtomicOr.
CudaStatus LaunchNamedSync(uint32_t* out);

// What a box of 16 x 128 bytes at (x, y) looks like in shared memory. out: [2048].
CudaStatus LaunchTmaBox(const TensorMap& map, int32_t x, int32_t y, uint8_t* out);

inline constexpr int kTileRows = 64;    // of A
inline constexpr int kTileBytes = 128;  // of k
// out = A * B^T with wgmma, TMA and a ring of mbarriers. A: rows x (128 * k_tiles), B: columns x
// the same; out: [rows][columns]. rows: a multiple of 64 * cluster, columns: of tile_columns, which
// is 64, 128, 192 or 256. In a cluster of 2 each block loads half of B's tile for both. map_a has
// boxes of 64 rows, map_b of tile_columns / cluster.
CudaStatus LaunchWgmma(int tile_columns, bool signed_a, int cluster, const TensorMap& map_a,
                       const TensorMap& map_b, int rows, int columns, int k_tiles, int32_t* out);

}  // namespace octavo::cuda::testing
