#include "octavo/shard_packer.h"

#include <algorithm>

#include "format/chunk.h"
#include "format/layout.h"

namespace octavo::format {
namespace {

constexpr uint64_t kDefaultChunkBytes = uint64_t{1} << 20;

// Upper bounds. What alignment and the manifest take for a bundle besides the payload:
uint64_t BundleOverhead(uint64_t raw_bytes) {
  // Codes and one more large tensor start at pages; digests take 19 bytes for each chunk of about 1
  // MiB.
  const uint64_t alignment = raw_bytes >= kPageAlignedBytes ? 2 * kPageAlignment : 4 * kAlignment;
  return alignment + raw_bytes / 32'768 + 2048;
}

// … and what the manifest takes for a tensor and its part of a module.
uint64_t ManifestBytes(const TensorEntry& tensor) {
  const uint64_t num_chunks = NumChunks(tensor);
  return 512 + 4 * tensor.name.size() + 19 * num_chunks +
         (tensor.codec == Codec::kNone ? 0 : 9 * num_chunks);
}

}  // namespace

uint64_t ChooseChunkRows(const TensorEntry& entry, uint64_t wanted) {
  TensorEntry row_by_row;
  row_by_row.dtype = entry.dtype;
  row_by_row.shape = entry.shape;
  row_by_row.matrix_rows = entry.matrix_rows;
  row_by_row.chunk_rows = 1;
  const Cut cut(row_by_row);
  const uint64_t row_bytes = std::max<uint64_t>(1, cut.row_bytes);
  return std::clamp<uint64_t>(wanted != 0 ? wanted : kDefaultChunkBytes / row_bytes, 1,
                              std::max<uint64_t>(1, cut.num_rows));
}

ShardPacker::ShardPacker(uint64_t max_shard_bytes) : max_shard_bytes_(max_shard_bytes) { Clear(); }

void ShardPacker::Clear() {
  payload_end_ = kHeaderBytes;
  manifest_bytes_ = 4096;  // what converter, source and quantization take
  is_empty_ = true;
}

bool ShardPacker::BeginBundle(uint64_t raw_bytes) {
  if (max_shard_bytes_ == 0 || is_empty_) return false;
  const uint64_t more = raw_bytes + BundleOverhead(raw_bytes);
  const bool fits = shard_bytes() <= max_shard_bytes_ && more >= raw_bytes &&
                    more <= max_shard_bytes_ - shard_bytes();
  if (!fits) Clear();
  return !fits;
}

void ShardPacker::Add(const TensorEntry& entry) {
  TensorEntry cut = entry;
  cut.chunk_rows = ChooseChunkRows(entry, entry.chunk_rows);
  payload_end_ = RoundUp(payload_end_, PayloadAlignment(entry.raw_bytes())) + entry.raw_bytes();
  manifest_bytes_ += ManifestBytes(cut);
  is_empty_ = false;
}

}  // namespace octavo::format
