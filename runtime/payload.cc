#include "runtime/payload.h"

#include <algorithm>
#include <cstring>

namespace octavo {
namespace {

using format::TensorEntry;

constexpr uint64_t kPageBytes = 4096;

Status BreaksR30(const PayloadRequest& request, const std::string& what) {
  return {ErrorCode::kInvalidFile, "tensor \"" + request.tensor + "\" " + what + " (R30)"};
}

// What is wanted, in bytes of the tensor: `num_runs` pieces of `run_bytes`, `stride` apart. One run
// where it is in one piece.
struct Runs {
  uint64_t begin = 0;
  uint64_t stride = 0;
  uint64_t run_bytes = 0;
  uint64_t num_runs = 0;

  explicit Runs(const PayloadRequest& request) {
    const uint64_t element_bytes = DTypeBytes(request.dtype);
    const Rectangle& wanted = request.wanted;
    const uint64_t part_bytes = request.rows * request.row_elements * element_bytes;
    stride = request.row_elements * element_bytes;
    begin = request.part * part_bytes + wanted.first_row * stride + wanted.first * element_bytes;
    run_bytes = wanted.count * element_bytes;
    num_runs = wanted.num_rows;
    if (run_bytes != stride) return;
    run_bytes *= num_runs;
    num_runs = 1;
  }

  uint64_t bytes() const { return num_runs * run_bytes; }
  uint64_t at(uint64_t run) const { return begin + run * stride; }
  // The first run that ends after `byte`. Requires: bytes() > 0.
  uint64_t FirstAfter(uint64_t byte) const {
    return byte < begin + run_bytes ? 0 : (byte - begin - run_bytes) / stride + 1;
  }
  bool Touches(uint64_t from, uint64_t to) const {
    const uint64_t run = FirstAfter(from);
    return run < num_runs && at(run) < to;
  }
};

// A chunk as bytes of its tensor.
struct ChunkBytes {
  format::ChunkExtent rows;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// body(chunk) for each chunk that the runs touch, counting its stored bytes.
template <typename Body>
Status ForChunks(const TensorEntry& entry, const Runs& runs, uint64_t* stored_bytes, Body&& body) {
  const uint64_t row_bytes = entry.shape.row_elements() * DTypeBytes(entry.dtype);
  const uint64_t num_chunks = format::NumChunks(entry);
  for (uint64_t i = 0; i < num_chunks; ++i) {
    const format::ChunkExtent rows = format::ChunkAt(entry, i);
    const ChunkBytes chunk{rows, rows.first_row * row_bytes,
                           (rows.first_row + rows.rows) * row_bytes};
    if (!runs.Touches(chunk.begin, chunk.end)) continue;
    *stored_bytes += entry.stored.empty() ? chunk.end - chunk.begin : entry.stored[i];
    OCTAVO_RETURN_IF_ERROR(body(chunk));
  }
  return {};
}

// Reads one row of each chunk: the reader checks whole chunks, and nothing else is copied.
Status CheckDigests(const format::Reader& reader, const TensorEntry& entry, const Runs& runs,
                    uint64_t* stored_bytes) {
  OCTAVO_ASSIGN_OR_RETURN(
      const AlignedBuffer row,
      AlignedBuffer::Allocate(entry.shape.row_elements() * DTypeBytes(entry.dtype)));
  return ForChunks(entry, runs, stored_bytes, [&](const ChunkBytes& chunk) {
    return reader.ReadRows(entry, chunk.rows.first_row, 1, row.span(), true);
  });
}

// What of bytes [from, from + source.size()) of the tensor belongs to the runs.
void CopyOverlap(std::span<const std::byte> source, uint64_t from, const Runs& runs,
                 std::byte* out) {
  const uint64_t to = from + source.size();
  for (uint64_t run = runs.FirstAfter(from); run < runs.num_runs && runs.at(run) < to; ++run) {
    const uint64_t begin = std::max(from, runs.at(run));
    const uint64_t end = std::min(to, runs.at(run) + runs.run_bytes);
    std::memcpy(out + run * runs.run_bytes + (begin - runs.at(run)), source.data() + (begin - from),
                end - begin);
  }
}

uint64_t PagesOf(const Runs& runs, uint64_t offset) {
  uint64_t pages = 0, next_page = 0;
  for (uint64_t run = 0; run < runs.num_runs; ++run) {
    const uint64_t first = std::max(next_page, (offset + runs.at(run)) / kPageBytes);
    const uint64_t end = (offset + runs.at(run) + runs.run_bytes - 1) / kPageBytes + 1;
    pages += end - std::min(first, end);
    next_page = end;
  }
  return pages;
}

Status LoadPlain(const format::Reader& reader, const TensorEntry& entry, const Runs& runs,
                 bool check_digest, Payload* payload) {
  if (check_digest) {
    OCTAVO_RETURN_IF_ERROR(CheckDigests(reader, entry, runs, &payload->read_bytes));
  } else {
    payload->read_bytes = PagesOf(runs, entry.offset) * kPageBytes;
  }
  const std::span<const std::byte> mapped = reader.Bytes(entry);
  if (runs.num_runs == 1) {
    payload->bytes = mapped.subspan(runs.begin, runs.run_bytes);
    return {};
  }
  OCTAVO_ASSIGN_OR_RETURN(payload->owned, AlignedBuffer::Allocate(runs.bytes()));
  CopyOverlap(mapped, 0, runs, payload->owned.as<std::byte>());
  payload->bytes = payload->owned.span();
  return {};
}

Status LoadCompressed(const format::Reader& reader, const TensorEntry& entry, const Runs& runs,
                      Payload* payload) {
  OCTAVO_ASSIGN_OR_RETURN(payload->owned, AlignedBuffer::Allocate(runs.bytes()));
  payload->bytes = payload->owned.span();
  const uint64_t row_bytes = entry.shape.row_elements() * DTypeBytes(entry.dtype);
  if (runs.num_runs == 1 && runs.begin % row_bytes == 0 && runs.run_bytes % row_bytes == 0) {
    OCTAVO_RETURN_IF_ERROR(
        ForChunks(entry, runs, &payload->read_bytes, [](const ChunkBytes&) { return Status(); }));
    return reader.ReadRows(entry, runs.begin / row_bytes, runs.run_bytes / row_bytes,
                           payload->owned.span());
  }
  AlignedBuffer raw;
  return ForChunks(entry, runs, &payload->read_bytes, [&](const ChunkBytes& chunk) -> Status {
    const uint64_t bytes = chunk.end - chunk.begin;
    if (raw.bytes() < bytes) {
      OCTAVO_ASSIGN_OR_RETURN(raw, AlignedBuffer::Allocate(bytes));
    }
    const std::span<std::byte> rows = raw.span().first(bytes);
    OCTAVO_RETURN_IF_ERROR(reader.ReadRows(entry, chunk.rows.first_row, chunk.rows.rows, rows));
    CopyOverlap(rows, chunk.begin, runs, payload->owned.as<std::byte>());
    return {};
  });
}

}  // namespace

Result<Payload> LoadPayload(const format::Reader& reader, const PayloadRequest& request) {
  const TensorEntry* entry = reader.FindTensor(request.tensor);
  if (entry == nullptr) return BreaksR30(request, "is missing");
  const uint64_t part_elements = request.rows * request.row_elements;
  const uint64_t elements = entry->shape.NumElements().value_or(UINT64_MAX);
  const uint64_t rows = entry->shape.NumRows().value_or(UINT64_MAX);
  if (entry->dtype != request.dtype)
    return BreaksR30(request, "is " + std::string(DTypeName(entry->dtype)) + ", expected " +
                                  std::string(DTypeName(request.dtype)));
  if (elements % request.parts != 0 || elements / request.parts != part_elements ||
      rows % request.parts != 0) {
    return BreaksR30(request, "has shape " + entry->shape.ToString() + ", expected " +
                                  std::to_string(request.parts) + " times " +
                                  std::to_string(part_elements) + " elements");
  }
  Payload payload;
  const Runs runs(request);
  if (runs.bytes() == 0) return payload;
  if (entry->codec == format::Codec::kNone) {
    OCTAVO_RETURN_IF_ERROR(LoadPlain(reader, *entry, runs, request.check_digest, &payload));
  } else {
    OCTAVO_RETURN_IF_ERROR(LoadCompressed(reader, *entry, runs, &payload));
  }
  return payload;
}

}  // namespace octavo
