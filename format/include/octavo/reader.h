// Opens .8vo files: a single file, or the index of a sharded model, behind one interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::format {

struct ReaderOptions {
  // Also read every payload and check digests, padding and values (R22 to R29) before Open returns.
  bool verify = false;
  int32_t num_threads = 0;  // for verify; 0: one for each CPU
};

struct FileHeader {
  uint16_t version_major = 1;
  uint16_t version_minor = 0;
  uint64_t required_features = 0;
  uint64_t optional_features = 0;
  uint64_t file_bytes = 0;
  uint64_t manifest_offset = 0;
  uint64_t manifest_bytes = 0;
  uint32_t shard_index = 0;
  uint32_t shard_count = 1;
  std::string manifest_xxh3;  // 32 hex digits
};

// One thing that is wrong with a file, for `octavo verify`.
struct Finding {
  std::string file;     // base name of the file or shard
  std::string subject;  // "header", "manifest", "padding", or the tensor's or asset's name
  Status status;        // with rule, chunk and byte range in the message
};

struct VerifyProgress {
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
};

// Maps the file read-only and keeps it mapped. The header and the manifest are checked by Open; payload digests only
// on request. A file that is cut off or rewritten by somebody else while it is mapped ends the process with SIGBUS or
// gives changed bytes, as with any mapping: Octavo itself never writes into a file, it renames a new one over it.
// Const and thread-safe after Open.
class Reader {
 public:
  // `path`: a .8vo file, a shard, or an index (whose shards are opened too, R36).
  // Errors: kNotFound, kIo, kInvalidFile, kNewerFormat, kNotIntact (digests), each naming file and rule.
  static Result<Reader> Open(const std::string& path, const ReaderOptions& options = {});

  // Like Open with verify, but goes on after a fault and lists every one found; empty: intact. A Status only where
  // the file could not be examined at all (not found, no permission). `progress` may be null; it is called from one
  // thread at a time, and returning false cancels (kCancelled).
  static Result<std::vector<Finding>> Verify(const std::string& path, const ReaderOptions& options = {},
                                             const std::function<bool(const VerifyProgress&)>& progress = nullptr);

  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;
  ~Reader();

  const std::string& path() const;
  const FileHeader& header() const;
  const Manifest& manifest() const;
  // Size of the file, or of the index and its shards together.
  uint64_t total_bytes() const;

  // By name; null if there is none. Owned by the reader.
  const TensorEntry* FindTensor(std::string_view name) const;
  const Module* FindModule(std::string_view name) const;
  const TensorEntry* FindAsset(std::string_view name) const;

  // The manifest's JSON text as stored, in the mapping.
  std::string_view manifest_text() const;

  // The payload in the mapping, without a copy and without checking its digest. Requires: entry.codec == kNone.
  // Aligned to 64 bytes, to 4096 from 64 KiB on. Valid while the reader lives.
  std::span<const std::byte> Bytes(const TensorEntry& entry) const;

  // Copies rows [first_row, first_row + num_rows) into `out` (exactly their bytes), decompressing where needed.
  // Digests of the chunks touched are checked if `check` or if the tensor is compressed. Memory: one chunk.
  Status ReadRows(const TensorEntry& entry, uint64_t first_row, uint64_t num_rows, std::span<std::byte> out,
                  bool check = true) const;
  // The whole payload, checked.
  Result<std::vector<std::byte>> ReadAll(const TensorEntry& entry) const;

 private:
  struct State;
  explicit Reader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace octavo::format
