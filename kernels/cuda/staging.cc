#include "kernels/cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace octavo::cuda {

bool IsPossible(const kernels::CudaUpload& piece) {
  if (piece.rows == 0) return true;
  size_t bytes = 0;
  if (piece.device_stride < piece.row_bytes ||
      (piece.rows > 1 && piece.host_stride < piece.row_bytes) ||
      __builtin_mul_overflow(piece.rows, piece.device_stride, &bytes) ||
      __builtin_mul_overflow(piece.rows, piece.host_stride, &bytes))
    return false;
  return (piece.host != nullptr || piece.row_bytes == 0) &&
         (piece.device != nullptr || piece.device_stride == 0);
}

size_t DeviceBytes(const kernels::CudaUpload& piece) { return piece.rows * piece.device_stride; }

std::vector<Chunk> CutIntoChunks(std::span<const kernels::CudaUpload> pieces, int32_t num_threads) {
  constexpr size_t kPage = 4096;
  size_t total = 0;
  for (const kernels::CudaUpload& piece : pieces) total += DeviceBytes(piece);
  // Twice as many chunks as threads: who is done early takes another.
  const size_t share = total / (2 * static_cast<size_t>(std::max(num_threads, 1)));
  const size_t chunk_bytes =
      std::clamp((share + kPage - 1) / kPage * kPage, kSmallestChunk, kStagingBytes);
  std::vector<Chunk> chunks;
  chunks.reserve(total / chunk_bytes + pieces.size());
  for (const kernels::CudaUpload& piece : pieces) {
    const size_t bytes = DeviceBytes(piece);
    for (size_t begin = 0; begin < bytes; begin += chunk_bytes)
      chunks.push_back({&piece, begin, std::min(chunk_bytes, bytes - begin)});
  }
  return chunks;
}

void FillChunk(const Chunk& chunk, std::byte* out) {
  const kernels::CudaUpload& piece = *chunk.piece;
  const auto* host = static_cast<const std::byte*>(piece.host);
  if (piece.row_bytes == piece.device_stride &&
      (piece.rows == 1 || piece.host_stride == piece.row_bytes)) {
    std::memcpy(out, host + chunk.begin, chunk.bytes);
    return;
  }
  size_t at = chunk.begin;
  const size_t end = chunk.begin + chunk.bytes;
  while (at < end) {
    const size_t row = at / piece.device_stride, column = at % piece.device_stride;
    const size_t row_end = std::min(end - row * piece.device_stride, piece.device_stride);
    if (column < piece.row_bytes) {
      const size_t bytes = std::min(row_end, piece.row_bytes) - column;
      std::memcpy(out, host + row * piece.host_stride + column, bytes);
      out += bytes;
      at += bytes;
    }
    if (row_end > piece.row_bytes) {
      const size_t zeros = row_end - std::max(column, piece.row_bytes);
      std::memset(out, 0, zeros);
      out += zeros;
      at += zeros;
    }
  }
}

}  // namespace octavo::cuda
