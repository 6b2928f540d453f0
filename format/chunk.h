// Chunks of a payload: where each one is, its digest, and zstd with bounded memory (docs/format.md, section 6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::format {

// How a tensor is cut, computed once. Requires: shape and chunking passed R17 and R19.
struct Cut {
  explicit Cut(const TensorEntry& tensor);
  ChunkExtent At(uint64_t chunk_idx) const;
  // The chunk that holds a row. Requires: row < num_rows, num_chunks > 0.
  uint64_t ChunkOf(uint64_t row) const;

  uint64_t row_bytes = 0;
  uint64_t num_rows = 0;
  uint64_t chunk_rows = 0;
  uint64_t group_rows = 0;        // rows between which chunks do not cross: matrix_rows, or all
  uint64_t chunks_per_group = 0;
  uint64_t num_chunks = 0;
};

// R23: the stored bytes have the digest. Errors: kNotIntact.
Status CheckDigest(std::span<const std::byte> stored, uint64_t xxh3);

// R24: one frame that gives exactly raw_bytes, into *raw, which is resized only for a frame that can give so much.
// Errors: kInvalidFile. Memory besides: zstd's context (about 200 KiB); the window is *raw itself.
Status Decompress(std::span<const std::byte> frame, uint64_t raw_bytes, std::vector<std::byte>* raw);
// Whether zstd can give raw_bytes from a frame of so many bytes at all.
bool CanExpand(uint64_t frame_bytes, uint64_t raw_bytes);

// The frame into *buffer and true; or false where it would not be smaller than raw. Deterministic for one version of
// zstd. Errors: kLimit (no memory).
Result<bool> Compress(std::span<const std::byte> raw, std::vector<std::byte>* buffer);

}  // namespace octavo::format
