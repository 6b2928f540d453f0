// What a Writer holds between calls.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "format/commit_plan.h"
#include "format/file.h"
#include "format/journal.h"
#include "format/layout.h"
#include "format/output_lock.h"
#include "format/write_behind.h"
#include "octavo/manifest.h"
#include "octavo/result.h"
#include "octavo/shard_packer.h"
#include "octavo/writer.h"

namespace octavo::format {

inline Status Misuse(const std::string& what) { return Status(ErrorCode::kInvalidArgument, what); }

// Kinds of records in a writer's journal.
enum class RecordKind : uint32_t { kFingerprint = 1, kSavePoint = 2, kCommit = 3, kPart = 4 };

// One file in the making. A single file is the only shard.
struct OpenShard {
  AtomicFile file;
  uint64_t end = kHeaderBytes;  // of the payloads placed so far
  std::unique_ptr<WriteBehind> behind =
      std::make_unique<WriteBehind>();  // shards move, it does not
};

struct Writer::State {
  State(std::string output, const WriterOptions& the_options, OutputLock&& held);
  ~State();

  OutputLock lock;  // released last
  std::string path;
  WriterOptions options;
  std::optional<Journal> journal;
  std::mutex shards_mutex;       // WriteChunk and Save look shards up while another thread adds one
  std::deque<OpenShard> shards;  // references stay valid
  std::optional<AtomicFile> index;
  ShardPacker packer;  // of the last shard
  std::deque<TensorEntry> tensors;
  std::vector<TensorEntry> assets;
  bool in_tensor = false;
  bool is_finished = false;
  bool is_half_committed = false;  // the output has its name, but what follows failed
  Manifest manifest;               // as written
  std::vector<std::string> files;
  uint64_t total_bytes = 0;

  // Resuming (writer_resume.cc).
  std::vector<std::vector<std::byte>> saved_states;
  bool is_complete = false;        // what was interrupted had only to take its names
  size_t num_saved_tensors = 0;    // finished and in the journal
  uint32_t num_synced_shards = 0;  // made before the last save point
  bool has_save_point = false;     // then what is there stays if the writer is not finished

  // Goes on where an interrupted writer stopped; false if there is nothing to go on from.
  Result<bool> Resume();
  // Ends what an interrupted writer left halfway, and forgets it.
  Status ForgetInterrupted() const;
  Status StartJournal();
  Status Restore(std::span<const std::byte> writer_part);

  std::string ShardPath(size_t shard_idx) const;
  Status AddShard();
  // Parts (writer_parts.cc).
  std::vector<OutputLock> part_locks;
  std::vector<std::string> consumed;  // records of parts, which go with the commit
  Status CheckFinishedPart();
  Status TakePart(const Part& part);
  Status CompleteJoin();

  // Gives the entry its place in the last shard.
  void BeginPayload(TensorEntry* entry);
  // Counts a chunk at the end of that shard.
  void PlaceBytes(TensorEntry* entry, const EncodedChunk& chunk);
  Status FinishSingle();
  Status FinishSharded();
  // The files, complete and synced, take their names; the output comes last.
  Status Commit(const std::vector<AtomicFile*>& outputs,
                const std::vector<std::byte>& output_header);
};

}  // namespace octavo::format
