// Which shard a bundle of tensors goes to. It follows from the sizes of uncompressed payloads and
// from names alone, so that every machine that converts a part of a model decides alike.
#pragma once

#include <cstdint>

#include "octavo/manifest.h"

namespace octavo::format {

// Fills one shard after the other. Single thread.
class ShardPacker {
 public:
  // 0: everything goes into one shard.
  explicit ShardPacker(uint64_t max_shard_bytes);

  // The next tensors, `raw_bytes` together, belong in one shard. True if they begin a new one.
  bool BeginBundle(uint64_t raw_bytes);
  // The next tensor or asset; chunk_rows 0: Octavo's own choice.
  void Add(const TensorEntry& entry);
  // Bytes of the shard so far: an upper bound.
  uint64_t shard_bytes() const { return payload_end_ + manifest_bytes_; }

 private:
  uint64_t max_shard_bytes_;
  uint64_t payload_end_ = 0;
  uint64_t manifest_bytes_ = 0;
  bool is_empty_ = true;

  void Clear();
};

// The rows in a chunk of a tensor that asks for `wanted`, 0: for about 1 MiB. Takes dtype, shape
// and matrix_rows of the entry.
uint64_t ChooseChunkRows(const TensorEntry& entry, uint64_t wanted);

}  // namespace octavo::format
