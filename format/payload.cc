#include "format/payload.h"

#include "format/manifest_rules.h"

namespace octavo::format {

Result<Payload> Payload::Make(std::span<const std::byte> file, const TensorEntry& entry) {
  if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset) {
    return Broken("tensor", entry.name, "its payload is not within the file", "R21");
  }
  OCTAVO_RETURN_IF_ERROR(CheckEntry(entry, /*is_asset=*/false));
  if (entry.codec != Codec::kNone && !CanExpand(entry.bytes, entry.raw_bytes())) {
    return Broken("tensor", entry.name,
                  std::to_string(entry.bytes) + " stored bytes cannot give " +
                      std::to_string(entry.raw_bytes()),
                  "R24");
  }
  return Payload(file.subspan(entry.offset, entry.bytes), entry);
}

Payload::Payload(std::span<const std::byte> stored, const TensorEntry& entry)
    : entry_(&entry), stored_(stored), cut_(entry) {
  if (entry.codec == Codec::kNone) return;
  begins_.reserve(entry.stored.size());
  uint64_t begin = 0;
  for (const uint64_t bytes : entry.stored) {
    begins_.push_back(begin);
    begin += bytes;
  }
}

uint64_t Payload::RelativeOffset(uint64_t chunk_idx) const {
  return begins_.empty() ? cut_.At(chunk_idx).first_row * cut_.row_bytes : begins_[chunk_idx];
}

uint64_t Payload::ChunkOffset(uint64_t chunk_idx) const {
  return entry_->offset + RelativeOffset(chunk_idx);
}

std::span<const std::byte> Payload::StoredChunk(uint64_t chunk_idx) const {
  const uint64_t bytes =
      begins_.empty() ? cut_.At(chunk_idx).rows * cut_.row_bytes : entry_->stored[chunk_idx];
  return stored_.subspan(RelativeOffset(chunk_idx), bytes);
}

Result<std::span<const std::byte>> Payload::RawChunk(uint64_t chunk_idx, bool check,
                                                     std::vector<std::byte>* buffer) const {
  const std::span<const std::byte> stored = StoredChunk(chunk_idx);
  const uint64_t raw_bytes = cut_.At(chunk_idx).rows * cut_.row_bytes;
  const bool is_raw = stored.size() == raw_bytes;
  if (check || !is_raw) {
    OCTAVO_RETURN_IF_ERROR(CheckDigest(stored, entry_->xxh3[chunk_idx]));
  }
  if (is_raw) return stored;
  OCTAVO_RETURN_IF_ERROR(Decompress(stored, raw_bytes, buffer));
  return std::span<const std::byte>(*buffer);
}

}  // namespace octavo::format
