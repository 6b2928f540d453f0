// One payload in a mapping: its chunks as stored and as raw bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/chunk.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::format {

// A view; entry and file must outlive it. Thread-safe.
class Payload {
 public:
  // Errors: kInvalidFile where the entry does not fit the file (an entry that did not come from it).
  static Result<Payload> Make(std::span<const std::byte> file, const TensorEntry& entry);

  const Cut& cut() const { return cut_; }
  std::span<const std::byte> stored() const { return stored_; }
  // In the file.
  uint64_t ChunkOffset(uint64_t chunk_idx) const;
  std::span<const std::byte> StoredChunk(uint64_t chunk_idx) const;
  // The raw bytes: in the mapping where they are stored raw, else decompressed into *buffer. With check or a
  // compressed chunk the digest is checked first (R23). Errors: kNotIntact, kInvalidFile (R24).
  Result<std::span<const std::byte>> RawChunk(uint64_t chunk_idx, bool check,
                                              std::vector<std::byte>* buffer) const;

 private:
  Payload(std::span<const std::byte> stored, const TensorEntry& entry);
  uint64_t RelativeOffset(uint64_t chunk_idx) const;

  const TensorEntry* entry_;
  std::span<const std::byte> stored_;
  Cut cut_;
  std::vector<uint64_t> begins_;  // with a codec: of each chunk in stored_
};

}  // namespace octavo::format
