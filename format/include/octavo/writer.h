// Writes .8vo files, whole or sharded, so that the output's name only ever shows a complete one.
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

struct WriterOptions {
  bool overwrite = false;          // false: an existing output is kAlreadyExists, before anything is written
  Codec codec = Codec::kNone;
  // 0: one file; else a sharded model, each shard at most this large where its largest bundle allows. What fits into one
  // shard becomes a plain single file.
  uint64_t max_shard_bytes = 0;
  // What is on disk leaves the page cache: for files that are large beside the memory.
  bool drops_written = false;
  // What the bytes depend on, a line "key<tab>value\n" for each thing. Not empty: a journal is kept, so that an interrupted
  // writer can be resumed by one with the same text.
  std::string fingerprint = {};
  bool resume = false;  // go on where an interrupted writer of this output stopped, if there is one
  // What is written is a part, for Join: FinishPart instead of Finish. Needs a fingerprint.
  bool is_part = false;
};

// What a writer has done so far, taken at one place in the file's order (TakeSavePoint).
struct SavePoint {
  std::vector<std::byte> record;
  std::vector<uint64_t> payload_ends;  // of each shard
};

// A chunk ready for the file: its stored form and digest. `data` points at the raw bytes or into `buffer`.
struct EncodedChunk {
  std::span<const std::byte> data;
  uint64_t xxh3 = 0;
};

// Shards that were written elsewhere, without manifests and names: what FinishPart leaves.
struct Part {
  std::string path;
  std::string fingerprint;
  std::vector<std::byte> state;        // the caller's
  std::vector<uint64_t> payload_ends;  // of each shard
  Manifest manifest;                   // as an index; empty if there is no shard
};
// Errors: kNotFound, kIo, kInvalidFile (no finished part).
Result<Part> ReadPart(const std::string& path);
// What differs between two fingerprints, in words; empty: nothing.
std::string DescribeDifference(const std::string& before, const std::string& now);

// Writes payloads into a temporary sibling of the output, then manifest and header, syncs, and renames.
//
// Chunks are encoded and written by many threads, but numbered by one: AddTensor, PlaceChunk and FinishTensor are called in
// the file's order under the caller's lock (single thread); EncodeChunk and WriteChunk are thread-safe. The bytes
// depend on that order alone. Destroying a Writer that was not finished removes everything that is not part of a save point;
// what a killed process left behind is removed by the next Writer for the same output, or taken up if that resumes.
class Writer {
 public:
  // Errors: kAlreadyExists, kNotFound (no such folder), kIo (also: another writer of this output runs; says which),
  // kInvalidArgument (resuming with another fingerprint; says what differs).
  static Result<Writer> Create(const std::string& path, const WriterOptions& options);

  Writer(Writer&&) noexcept;
  Writer& operator=(Writer&&) noexcept;
  ~Writer();

  // A writer that holds the shards of these parts, in their order, ready for Finish; the parts are gone after that. Parts
  // must be in the output's folder. Errors: as Create, and kIo (a part's payload is missing, or shorter than it was).
  static Result<Writer> Join(const std::string& path, bool overwrite, std::span<const Part> parts);

  // Begins a group of tensors that belong in one shard; `raw_bytes`: of all its tensors. Without shards: nothing.
  // Modules given to Finish go to the shard of their first tensor; a module without tensors to shard 0.
  Status BeginBundle(uint64_t raw_bytes);

  // Begins the next tensor; its number. chunk_rows 0: Octavo's own choice (chunks of about 1 MiB).
  // Requires: the tensor before is finished.
  Result<uint32_t> AddTensor(const std::string& name, DType dtype, const Shape& shape, uint64_t matrix_rows = 0,
                             uint64_t chunk_rows = 0);
  const TensorEntry& tensor(uint32_t tensor_idx) const;
  uint32_t num_tensors() const;  // the current one included

  // Digest, and compression if the options ask for it, into *buffer (reused between calls). Thread-safe.
  Result<EncodedChunk> EncodeChunk(std::span<const std::byte> raw, std::vector<std::byte>* buffer) const;
  // Gives the next chunk of the current tensor its place: where in the file (of the current shard) it goes.
  struct Place {
    uint32_t shard = 0;
    uint64_t offset = 0;
  };
  Result<Place> PlaceChunk(uint32_t tensor_idx, const EncodedChunk& chunk);
  // Writes the bytes there; chunks of zeros become holes of the file. Thread-safe. Errors: kIo, naming the cause.
  Status WriteChunk(const Place& place, std::span<const std::byte> data) const;
  // Checks that all chunks were placed.
  Status FinishTensor(uint32_t tensor_idx);

  // All of the above for a tensor that is in memory.
  Status AppendTensor(const std::string& name, DType dtype, const Shape& shape, std::span<const std::byte> raw);
  // An embedded file. Assets come after all tensors; each is a bundle of its own: in the last shard, or in a new one where
  // it does not fit there.
  Status AppendAsset(const std::string& name, std::span<const std::byte> content);

  // Completes the file or the shards and the index: takes converter, source, quantization and modules of `manifest`; its
  // tensors, assets and shards are filled in by the writer. On success the output is on disk under its name.
  Status Finish(Manifest manifest);

  // ---- Resuming (docs/reliability.md) ----
  // Whether what was interrupted had all been written, and now has its name: there is nothing left to do.
  bool is_complete() const;
  // What the interrupted writer's callers gave to TakeSavePoint, in order; empty: nothing is resumed. The writer stands
  // where the last one was taken, within a tensor or between two.
  const std::vector<std::vector<std::byte>>& saved_states() const;
  // Everything placed until now, with the caller's own state. Called in the file's order, as PlaceChunk.
  SavePoint TakeSavePoint(std::span<const std::byte> caller_state);
  // Makes it durable. Requires: all chunks placed before it was taken are written; save points come one at a time, in
  // their order. Meanwhile chunks may be placed and written. Errors: kIo.
  Status Save(const SavePoint& point);
  // Whether anything is durable; it stays for a later writer if this one is destroyed before Finish, unless Discard was
  // called.
  bool has_save_point() const;
  void Discard();

  // Completes a part: its payloads are on disk, and a record of its name says what they are. Takes the same of
  // `manifest` as Finish.
  Status FinishPart(Manifest manifest, std::span<const std::byte> caller_state);

  // After Finish: the manifest as written (of the index if sharded), base names of the files written (the output first), and their bytes together.
  const Manifest& manifest() const;
  const std::vector<std::string>& files() const;
  uint64_t total_bytes() const;

 private:
  struct State;
  explicit Writer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace octavo::format
