// What a Writer holds between calls.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "format/file.h"
#include "format/layout.h"
#include "format/write_behind.h"
#include "octavo/manifest.h"
#include "octavo/result.h"
#include "octavo/writer.h"

namespace octavo::format {

inline Status Misuse(const std::string& what) {
  return Status(ErrorCode::kInvalidArgument, what);
}

// One file in the making. A single file is the only shard.
struct OpenShard {
  AtomicFile file;
  uint64_t end = kHeaderBytes;    // of the payloads placed so far
  uint64_t manifest_bytes = 4096;  // estimated; at first what converter, source and quantization take
  bool is_empty = true;
  std::unique_ptr<WriteBehind> behind;  // a shard moves, it does not
};

struct Writer::State {
  std::string path;
  WriterOptions options;
  std::mutex shards_mutex;       // WriteChunk looks shards up while another thread adds one
  std::deque<OpenShard> shards;  // references stay valid
  std::deque<TensorEntry> tensors;
  std::vector<TensorEntry> assets;
  bool in_tensor = false;
  bool is_finished = false;
  std::vector<std::string> files;
  uint64_t total_bytes = 0;

  Status AddShard();
  // Gives the entry its place in the last shard.
  void BeginPayload(TensorEntry* entry);
  // Counts a chunk at the end of that shard.
  void PlaceBytes(TensorEntry* entry, const EncodedChunk& chunk);
  Status FinishSingle(const Manifest& manifest);
  Status FinishSharded(Manifest manifest);
};

}  // namespace octavo::format
