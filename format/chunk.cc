#include "format/chunk.h"

#define ZSTD_STATIC_LINKING_ONLY  // ZSTD_getFrameHeader
#include <zstd.h>

#include <algorithm>

#include "format/digest.h"
#include "format/layout.h"

namespace octavo::format {
namespace {

constexpr int kCompressionLevel = 3;
// A zstd block of 4 bytes gives at most 128 KiB, so no frame gives more than this many times its
// own size.
constexpr uint64_t kMaxExpansion = 32'768;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

Status BadFrame(const std::string& what) {
  return Status(ErrorCode::kInvalidFile, what + " (R24)");
}

Status CheckFrame(std::span<const std::byte> frame, uint64_t raw_bytes) {
  ZSTD_frameHeader header;
  if (ZSTD_getFrameHeader(&header, frame.data(), frame.size()) != 0) {
    return BadFrame("not a zstd frame");
  }
  if (header.frameType != ZSTD_frame) return BadFrame("a skippable zstd frame");
  if (header.dictID != 0) return BadFrame("the zstd frame needs a dictionary");
  if (header.windowSize > kMaxWindowBytes) {
    return BadFrame("the zstd frame needs a window of " + std::to_string(header.windowSize) +
                    " bytes, at most 64 MiB are allowed");
  }
  const bool is_known = header.frameContentSize != ZSTD_CONTENTSIZE_UNKNOWN;
  if (is_known && header.frameContentSize != raw_bytes) {
    return BadFrame("the zstd frame gives " + std::to_string(header.frameContentSize) +
                    " bytes, the chunk has " + std::to_string(raw_bytes));
  }
  if (!CanExpand(frame.size(), raw_bytes)) {
    return BadFrame("a zstd frame of " + std::to_string(frame.size()) + " bytes cannot give " +
                    std::to_string(raw_bytes));
  }
  const size_t used = ZSTD_findFrameCompressedSize(frame.data(), frame.size());
  if (ZSTD_isError(used)) return BadFrame("the zstd frame is damaged");
  if (used != frame.size()) return BadFrame("bytes after the zstd frame");
  return {};
}

}  // namespace

Cut::Cut(const TensorEntry& tensor)
    : row_bytes(tensor.shape.row_elements() * DTypeBytes(tensor.dtype)),
      num_rows(tensor.shape.NumRows().value_or(0)),
      chunk_rows(tensor.chunk_rows),
      group_rows(tensor.matrix_rows == 0 ? num_rows : tensor.matrix_rows) {
  if (num_rows == 0 || row_bytes == 0) return;
  chunks_per_group = CeilDiv(group_rows, chunk_rows);
  num_chunks = num_rows / group_rows * chunks_per_group;
}

ChunkExtent Cut::At(uint64_t chunk_idx) const {
  const uint64_t first = chunk_idx % chunks_per_group * chunk_rows;  // in its group
  return {.first_row = chunk_idx / chunks_per_group * group_rows + first,
          .rows = std::min(chunk_rows, group_rows - first)};
}

uint64_t Cut::ChunkOf(uint64_t row) const {
  return row / group_rows * chunks_per_group + row % group_rows / chunk_rows;
}

uint64_t NumChunks(const TensorEntry& tensor) { return Cut(tensor).num_chunks; }

ChunkExtent ChunkAt(const TensorEntry& tensor, uint64_t chunk_idx) {
  return Cut(tensor).At(chunk_idx);
}

Status CheckDigest(std::span<const std::byte> stored, uint64_t xxh3) {
  const uint64_t digest = Xxh3(stored);
  if (digest == xxh3) return {};
  return Status(ErrorCode::kNotIntact,
                "the digest is " + Hex(digest) + ", the manifest says " + Hex(xxh3) + " (R23)");
}

bool CanExpand(uint64_t frame_bytes, uint64_t raw_bytes) {
  return raw_bytes / kMaxExpansion <= frame_bytes;
}

Status Decompress(std::span<const std::byte> frame, uint64_t raw_bytes,
                  std::vector<std::byte>* raw) {
  OCTAVO_RETURN_IF_ERROR(CheckFrame(frame, raw_bytes));
  raw->resize(raw_bytes);
  static thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (context == nullptr) return Status(ErrorCode::kLimit, "no memory for zstd");
  const size_t size =
      ZSTD_decompressDCtx(context.get(), raw->data(), raw->size(), frame.data(), frame.size());
  if (ZSTD_isError(size)) {
    return BadFrame(std::string("the zstd frame is damaged: ") + ZSTD_getErrorName(size));
  }
  if (size != raw_bytes) {
    return BadFrame("the zstd frame gives " + std::to_string(size) + " bytes, the chunk has " +
                    std::to_string(raw_bytes));
  }
  return {};
}

Result<bool> Compress(std::span<const std::byte> raw, std::vector<std::byte>* buffer) {
  // R18, R20: only a smaller frame is of use, and only for a chunk that may be compressed.
  if (raw.size() < 2 || raw.size() > kMaxChunkBytes) return false;
  static thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  if (context == nullptr) return Status(ErrorCode::kLimit, "no memory for zstd");
  buffer->resize(ZSTD_compressBound(raw.size()));
  const size_t size = ZSTD_compressCCtx(context.get(), buffer->data(), buffer->size(), raw.data(),
                                        raw.size(), kCompressionLevel);
  if (ZSTD_isError(size) || size >= raw.size()) return false;
  buffer->resize(size);
  return true;
}

}  // namespace octavo::format
