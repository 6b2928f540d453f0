#include "runtime/payload.h"

#include <vector>

namespace octavo {
namespace {

using format::TensorEntry;

Status BreaksR30(const PayloadRequest& request, const std::string& what) {
  return {ErrorCode::kInvalidFile, "tensor \"" + request.tensor + "\" " + what + " (R30)"};
}

// Reads one row of each chunk that the rows touch: the reader checks whole chunks, and nothing else
// is copied.
Status CheckDigests(const format::Reader& reader, const TensorEntry& entry, uint64_t first_row,
                    uint64_t num_rows, uint64_t row_bytes) {
  std::vector<std::byte> row(row_bytes);
  const uint64_t num_chunks = format::NumChunks(entry);
  for (uint64_t i = 0; i < num_chunks; ++i) {
    const format::ChunkExtent chunk = format::ChunkAt(entry, i);
    if (chunk.first_row >= first_row + num_rows || chunk.first_row + chunk.rows <= first_row)
      continue;
    OCTAVO_RETURN_IF_ERROR(reader.ReadRows(entry, chunk.first_row, 1, row, true));
  }
  return {};
}

}  // namespace

Result<Payload> LoadPayload(const format::Reader& reader, const PayloadRequest& request) {
  const TensorEntry* entry = reader.FindTensor(request.tensor);
  if (entry == nullptr) return BreaksR30(request, "is missing");
  const uint64_t elements = entry->shape.NumElements().value_or(UINT64_MAX);
  const uint64_t rows = entry->shape.NumRows().value_or(UINT64_MAX);
  if (entry->dtype != request.dtype)
    return BreaksR30(request, "is " + std::string(DTypeName(entry->dtype)) + ", expected " +
                                  std::string(DTypeName(request.dtype)));
  if (elements % request.parts != 0 || elements / request.parts != request.elements ||
      rows % request.parts != 0) {
    return BreaksR30(request, "has shape " + entry->shape.ToString() + ", expected " +
                                  std::to_string(request.parts) + " times " +
                                  std::to_string(request.elements) + " elements");
  }
  Payload payload;
  if (request.elements == 0) return payload;

  const uint64_t part_rows = rows / request.parts;
  const uint64_t first_row = request.part * part_rows;
  const uint64_t part_bytes = request.elements * DTypeBytes(request.dtype);
  if (entry->codec == format::Codec::kNone) {
    if (request.check_digest)
      OCTAVO_RETURN_IF_ERROR(
          CheckDigests(reader, *entry, first_row, part_rows, part_bytes / part_rows));
    payload.bytes = reader.Bytes(*entry).subspan(request.part * part_bytes, part_bytes);
    return payload;
  }
  OCTAVO_ASSIGN_OR_RETURN(payload.owned, AlignedBuffer::Allocate(part_bytes));
  OCTAVO_RETURN_IF_ERROR(reader.ReadRows(*entry, first_row, part_rows, payload.owned.span()));
  payload.bytes = payload.owned.span();
  return payload;
}

}  // namespace octavo
