// An upload cut into chunks for the pinned buffers: what goes where, as plain functions of sizes
// and host memory (kernels/cuda/memory.cc moves the chunks).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "octavo/cuda_kernels.h"

namespace octavo::cuda {

inline constexpr size_t kStagingBytes = size_t{4} << 20;     // of a buffer: the largest chunk
inline constexpr size_t kSmallestChunk = size_t{128} << 10;  // below it copies cost more than bytes

// Strides that reach a row's end, pointers where there are bytes, sizes that do not wrap.
bool IsPossible(const kernels::CudaUpload& piece);

// The bytes that a piece fills on the device: rows * device_stride.
size_t DeviceBytes(const kernels::CudaUpload& piece);

// Bytes [begin, begin + bytes) of what a piece fills.
struct Chunk {
  const kernels::CudaUpload* piece = nullptr;
  size_t begin = 0;
  size_t bytes = 0;
};

// Every byte of the pieces once, in chunks that keep `num_threads` busy where there is enough.
// Requires: IsPossible(each).
std::vector<Chunk> CutIntoChunks(std::span<const kernels::CudaUpload> pieces, int32_t num_threads);

// Writes the chunk as it will lie on the device, with zeros between rows, to `out`.
void FillChunk(const Chunk& chunk, std::byte* out);

}  // namespace octavo::cuda
