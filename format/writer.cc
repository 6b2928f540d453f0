#include "octavo/writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "format/chunk.h"
#include "format/digest.h"
#include "format/layout.h"
#include "format/manifest_rules.h"
#include "format/quote.h"
#include "format/writer_state.h"

namespace octavo::format {
namespace {

// A rule that the caller's values break.
Status AsMisuse(const Status& status) {
  return status.code() == ErrorCode::kInvalidFile ? Misuse(status.message()) : status;
}

Status CheckOutput(const std::string& path, bool overwrite) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return {};
  if (overwrite || !S_ISREG(info.st_mode)) return {};  // AtomicFile refuses all but regular files
  return Status(ErrorCode::kAlreadyExists, path + " exists already");
}

// Whether the bytes are zero, and so many that a hole is worth it: a new file reads as zero where
// nothing was written.
bool CanBeHole(std::span<const std::byte> data) {
  if (data.size() < kPageAlignment) return false;
  uint64_t word = 0;
  size_t at = 0;
  for (; at + sizeof(word) <= data.size() && word == 0; at += sizeof(word)) {
    std::memcpy(&word, data.data() + at, sizeof(word));
  }
  return word == 0 &&
         std::ranges::all_of(data.subspan(at), [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

Writer::State::State(std::string output, const WriterOptions& the_options, OutputLock&& held)
    : lock(std::move(held)),
      path(std::move(output)),
      options(the_options),
      packer(the_options.max_shard_bytes) {}

Writer::State::~State() {
  const bool keeps = has_save_point && !is_finished;
  for (OpenShard& shard : shards) {
    if (keeps) shard.file.Keep();
  }
  if (keeps && index) index->Keep();
  if (journal && !keeps && !is_half_committed && !is_finished) unlink(journal->path().c_str());
}

std::string Writer::State::ShardPath(size_t shard_idx) const {
  char number[24];
  std::snprintf(number, sizeof(number), "%05zu", shard_idx);
  return SiblingPath(path, number);
}

Status Writer::State::AddShard() {
  OCTAVO_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::CreateAs(path, ShardPath(shards.size())));
  const std::lock_guard lock_shards(shards_mutex);
  shards.push_back({.file = std::move(file)});
  return {};
}

void Writer::State::BeginPayload(TensorEntry* entry) {
  entry->codec = options.codec;
  entry->shard = static_cast<uint32_t>(shards.size() - 1);
  OpenShard& shard = shards.back();
  shard.end = RoundUp(shard.end, PayloadAlignment(entry->raw_bytes()));
  entry->offset = shard.end;
}

void Writer::State::PlaceBytes(TensorEntry* entry, const EncodedChunk& chunk) {
  if (entry->codec != Codec::kNone) entry->stored.push_back(chunk.data.size());
  entry->xxh3.push_back(chunk.xxh3);
  entry->bytes += chunk.data.size();
  shards[entry->shard].end += chunk.data.size();
}

Result<Writer> Writer::Create(const std::string& path, const WriterOptions& options) {
  OCTAVO_RETURN_IF_ERROR(CheckOutputName(path));
  Result<OutputLock> lock = OutputLock::Acquire(path);
  if (!lock.ok()) return lock.status();
  auto state = std::make_unique<State>(path, options, std::move(*lock));
  if (options.is_part) OCTAVO_RETURN_IF_ERROR(state->CheckFinishedPart());
  if (state->is_complete) return Writer(std::move(state));
  bool is_resumed = false;
  if (options.resume) {
    OCTAVO_ASSIGN_OR_RETURN(is_resumed, state->Resume());
  }
  if (!is_resumed) OCTAVO_RETURN_IF_ERROR(state->ForgetInterrupted());
  if (!state->is_complete) {
    OCTAVO_RETURN_IF_ERROR(CheckOutput(path, options.overwrite));
    if (!is_resumed) {
      if (!options.fingerprint.empty()) OCTAVO_RETURN_IF_ERROR(state->StartJournal());
      OCTAVO_RETURN_IF_ERROR(state->AddShard());
    }
  }
  return Writer(std::move(state));
}

Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Writer::Writer(Writer&&) noexcept = default;
Writer& Writer::operator=(Writer&&) noexcept = default;
Writer::~Writer() = default;

Status Writer::BeginBundle(uint64_t raw_bytes) {
  State& state = *state_;
  if (state.in_tensor) return Misuse("a bundle begins within a tensor");
  return state.packer.BeginBundle(raw_bytes) ? state.AddShard() : Status();
}

Result<uint32_t> Writer::AddTensor(const std::string& name, DType dtype, const Shape& shape,
                                   uint64_t matrix_rows, uint64_t chunk_rows) {
  State& state = *state_;
  if (state.in_tensor) return Misuse("a tensor begins before the one before is finished");
  if (!state.assets.empty()) return Misuse("tensor " + Quote(name) + " comes after an asset");
  if (state.tensors.size() >= kMaxEntries) return Status(ErrorCode::kLimit, "too many tensors");
  TensorEntry entry;
  entry.name = name;
  entry.dtype = dtype;
  entry.shape = shape;
  entry.matrix_rows = matrix_rows;
  entry.chunk_rows = 1;
  OCTAVO_RETURN_IF_ERROR(AsMisuse(CheckShape(entry, /*is_asset=*/false)));
  entry.chunk_rows = ChooseChunkRows(entry, chunk_rows);
  state.BeginPayload(&entry);
  state.tensors.push_back(std::move(entry));
  state.in_tensor = true;
  return static_cast<uint32_t>(state.tensors.size() - 1);
}

uint32_t Writer::num_tensors() const { return static_cast<uint32_t>(state_->tensors.size()); }
const TensorEntry& Writer::tensor(uint32_t tensor_idx) const { return state_->tensors[tensor_idx]; }

Result<EncodedChunk> Writer::EncodeChunk(std::span<const std::byte> raw,
                                         std::vector<std::byte>* buffer) const {
  EncodedChunk chunk;
  chunk.data = raw;
  if (state_->options.codec == Codec::kZstd) {
    OCTAVO_ASSIGN_OR_RETURN(const bool is_smaller, Compress(raw, buffer));
    if (is_smaller) chunk.data = *buffer;
  }
  chunk.xxh3 = Xxh3(chunk.data);
  return chunk;
}

Result<Writer::Place> Writer::PlaceChunk(uint32_t tensor_idx, const EncodedChunk& chunk) {
  State& state = *state_;
  if (!state.in_tensor || tensor_idx + 1 != state.tensors.size()) {
    return Misuse("a chunk for a tensor that is not the current one");
  }
  TensorEntry& entry = state.tensors[tensor_idx];
  const Cut cut(entry);
  if (entry.xxh3.size() >= cut.num_chunks) {
    return Misuse("tensor " + Quote(entry.name) + ": more chunks than it has");
  }
  const uint64_t raw = cut.At(entry.xxh3.size()).rows * cut.row_bytes;
  const bool fits = entry.codec == Codec::kNone ? chunk.data.size() == raw
                                                : !chunk.data.empty() && chunk.data.size() <= raw;
  if (!fits) {
    return Misuse("tensor " + Quote(entry.name) + ": a chunk of " +
                  std::to_string(chunk.data.size()) + " bytes in place of " + std::to_string(raw));
  }
  const Place place = {.shard = entry.shard, .offset = state.shards[entry.shard].end};
  state.PlaceBytes(&entry, chunk);
  return place;
}

Status Writer::WriteChunk(const Place& place, std::span<const std::byte> data) const {
  const OpenShard* shard = nullptr;
  {
    const std::lock_guard lock_shards(state_->shards_mutex);
    shard = &state_->shards[place.shard];
  }
  if (CanBeHole(data)) return {};  // manifest and header come behind and before it
  OCTAVO_RETURN_IF_ERROR(shard->file.WriteAt(place.offset, data));
  const int error = shard->behind->Wrote(shard->file.fd(), place.offset + data.size(),
                                         state_->options.drops_written);
  return error == 0 ? Status() : ErrnoStatus(error, "cannot write", shard->file.final_path());
}

Status Writer::FinishTensor(uint32_t tensor_idx) {
  State& state = *state_;
  if (!state.in_tensor || tensor_idx + 1 != state.tensors.size()) {
    return Misuse("the tensor that is finished is not the current one");
  }
  const TensorEntry& entry = state.tensors[tensor_idx];
  OCTAVO_RETURN_IF_ERROR(AsMisuse(CheckEntry(entry, /*is_asset=*/false)));
  state.packer.Add(entry);
  state.in_tensor = false;
  return {};
}

Status Writer::AppendTensor(const std::string& name, DType dtype, const Shape& shape,
                            std::span<const std::byte> raw) {
  OCTAVO_ASSIGN_OR_RETURN(const uint32_t tensor_idx, AddTensor(name, dtype, shape));
  const TensorEntry& entry = tensor(tensor_idx);
  if (raw.size() != entry.raw_bytes()) {
    return Misuse("tensor " + Quote(name) + " has " + std::to_string(entry.raw_bytes()) +
                  " bytes, " + std::to_string(raw.size()) + " were given");
  }
  const Cut cut(entry);
  std::vector<std::byte> buffer;
  for (uint64_t i = 0; i < cut.num_chunks; ++i) {
    const ChunkExtent extent = cut.At(i);
    const auto rows = raw.subspan(extent.first_row * cut.row_bytes, extent.rows * cut.row_bytes);
    OCTAVO_ASSIGN_OR_RETURN(const EncodedChunk chunk, EncodeChunk(rows, &buffer));
    OCTAVO_ASSIGN_OR_RETURN(const Place place, PlaceChunk(tensor_idx, chunk));
    OCTAVO_RETURN_IF_ERROR(WriteChunk(place, chunk.data));
  }
  return FinishTensor(tensor_idx);
}

Status Writer::AppendAsset(const std::string& name, std::span<const std::byte> content) {
  State& state = *state_;
  if (state.in_tensor) return Misuse("asset " + Quote(name) + " begins within a tensor");
  OCTAVO_RETURN_IF_ERROR(BeginBundle(content.size()));
  TensorEntry entry;
  entry.name = name;
  entry.shape = Shape{content.size()};
  state.BeginPayload(&entry);
  if (!content.empty()) {
    std::vector<std::byte> buffer;
    OCTAVO_ASSIGN_OR_RETURN(const EncodedChunk chunk, EncodeChunk(content, &buffer));
    const Place place = {.shard = entry.shard, .offset = entry.offset};
    state.PlaceBytes(&entry, chunk);
    OCTAVO_RETURN_IF_ERROR(WriteChunk(place, chunk.data));
  }
  OCTAVO_RETURN_IF_ERROR(AsMisuse(CheckEntry(entry, /*is_asset=*/true)));
  state.packer.Add(entry);
  state.assets.push_back(std::move(entry));
  return {};
}

const Manifest& Writer::manifest() const { return state_->manifest; }
const std::vector<std::string>& Writer::files() const { return state_->files; }
uint64_t Writer::total_bytes() const { return state_->total_bytes; }

}  // namespace octavo::format
