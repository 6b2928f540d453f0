// Qualifiers of functions that are compiled for a device, for the host, or for both. A header that
// needs no more than these can be included by sources of either compiler.
#pragma once

#if defined(__CUDACC__)

// OCTAVO_KERNEL comes first: OCTAVO_KERNEL OCTAVO_LAUNCH_BOUNDS(256, 1) void SumKernel(…). Kernels
// stand in an unnamed namespace; parameters are passed by value, tensor maps as
// `OCTAVO_GRID_CONSTANT const TensorMap`.
#define OCTAVO_KERNEL __global__
#define OCTAVO_LAUNCH_BOUNDS(threads, min_blocks) __launch_bounds__(threads, min_blocks)
#define OCTAVO_GRID_CONSTANT __grid_constant__
#define OCTAVO_DEVICE __device__ __forceinline__
#define OCTAVO_HOST_DEVICE __host__ __device__ __forceinline__
#define OCTAVO_UNROLL _Pragma("unroll")
#define OCTAVO_PRAGMA(text) _Pragma(#text)
#define OCTAVO_UNROLL_BY(count) OCTAVO_PRAGMA(unroll count)

#else

#define OCTAVO_KERNEL [[maybe_unused]]
#define OCTAVO_LAUNCH_BOUNDS(threads, min_blocks)
#define OCTAVO_GRID_CONSTANT
#define OCTAVO_DEVICE [[maybe_unused]] inline
#define OCTAVO_HOST_DEVICE [[maybe_unused]] inline
#define OCTAVO_UNROLL
#define OCTAVO_UNROLL_BY(count)

#endif
