#include "libquant/compare_sink.h"

#include <algorithm>
#include <vector>

#include "libquant/hex.h"

namespace octavo::quant {
namespace {

using format::TensorEntry;

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool IsSameKind(const TensorEntry& entry, const TensorSpec& spec) {
  return entry.dtype == spec.dtype && entry.shape == spec.shape;
}

std::string HexBytes(std::span<const std::byte> bytes) {
  return Hex(std::vector(bytes.rbegin(), bytes.rend()));  // most significant first
}

// "[3, 17] is 0x7f, recomputed 0x7e", or empty if nothing differs.
std::string FirstDifference(const TensorSpec& spec, uint64_t first_row,
                            std::span<const std::byte> stored,
                            std::span<const std::byte> computed) {
  const auto [it, other] = std::ranges::mismatch(stored, computed);
  if (it == stored.end()) return {};
  const uint64_t element = DTypeBytes(spec.dtype);
  const uint64_t at = static_cast<uint64_t>(it - stored.begin()) / element;
  uint64_t flat = first_row * spec.shape.row_elements() + at;
  std::string index = "]";
  for (int axis = spec.shape.rank() - 1; axis >= 0; --axis) {
    index = (axis > 0 ? ", " : "") + std::to_string(flat % spec.shape[axis]) + index;
    flat /= spec.shape[axis];
  }
  return "[" + index + " is 0x" + HexBytes(stored.subspan(at * element, element)) +
         ", recomputed 0x" + HexBytes(computed.subspan(at * element, element));
}

}  // namespace

void CompareSink::Report(const std::string& subject, const std::string& message) {
  const TensorEntry* entry = reader_->FindTensor(subject);
  const auto& shards = reader_->manifest().shards;
  const std::string file = entry != nullptr && entry->shard < shards.size()
                               ? shards[entry->shard].name
                               : BaseName(reader_->path());
  findings_.push_back({file, subject, Status(ErrorCode::kNotIntact, message)});
}

Status CompareSink::BeginTensor(const TensorSpec& spec) {
  current_ = spec.name;
  compared_.insert(spec.name);
  const TensorEntry* entry = reader_->FindTensor(spec.name);
  has_finding_ = entry == nullptr || !IsSameKind(*entry, spec);
  if (entry == nullptr) {
    Report(spec.name, "the file has no such tensor");
  } else if (has_finding_) {
    Report(spec.name, "the file has " + std::string(DTypeName(entry->dtype)) + " " +
                          entry->shape.ToString() + ", the source gives " +
                          std::string(DTypeName(spec.dtype)) + " " + spec.shape.ToString());
  }
  return {};
}

Status CompareSink::Prepare(const TensorSpec& spec, OutputChunk* chunk) {
  chunk->difference.clear();
  const TensorEntry* entry = reader_->FindTensor(spec.name);
  if (entry == nullptr || !IsSameKind(*entry, spec)) return {};
  chunk->buffer.resize(chunk->raw.size());
  const Status status = reader_->ReadRows(*entry, chunk->first_row, chunk->num_rows, chunk->buffer);
  chunk->difference = status.ok()
                          ? FirstDifference(spec, chunk->first_row, chunk->buffer, chunk->raw)
                          : status.message();
  return {};
}

Status CompareSink::Place(OutputChunk* chunk) {
  if (!chunk->difference.empty() && !has_finding_) {
    Report(current_, chunk->difference);
    has_finding_ = true;
  }
  return {};
}

Status CompareSink::PutTensor(const TensorSpec& spec, std::span<const std::byte> raw) {
  OCTAVO_RETURN_IF_ERROR(BeginTensor(spec));
  OutputChunk chunk;
  chunk.raw = raw;
  chunk.num_rows = *spec.shape.NumRows();
  OCTAVO_RETURN_IF_ERROR(Prepare(spec, &chunk));
  return Place(&chunk);
}

}  // namespace octavo::quant
