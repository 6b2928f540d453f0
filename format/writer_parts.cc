// Parts of a sharded model: each written by a writer of its own, all put together by another.
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "format/writer_state.h"
#include "octavo/byte_stream.h"

namespace octavo::format {
namespace {

constexpr auto kFingerprint = static_cast<uint32_t>(RecordKind::kFingerprint);
constexpr auto kCommit = static_cast<uint32_t>(RecordKind::kCommit);
constexpr auto kPart = static_cast<uint32_t>(RecordKind::kPart);

std::string AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Status NoPart(const std::string& path) {
  return Status(ErrorCode::kInvalidFile,
                path + " is no finished part of a conversion by this version of Octavo");
}

}  // namespace

Result<Part> ReadPart(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<JournalRecord> records, Journal::Read(path));
  if (records.size() < 2 || records.front().kind != kFingerprint || records.back().kind != kPart) {
    return NoPart(path);
  }
  Part part;
  part.path = path;
  part.fingerprint = AsText(records.front().content);
  ByteReader in(records.back().content);
  part.state = in.GetVector<std::byte>();
  part.payload_ends = in.GetVector<uint64_t>();
  const std::string manifest = in.GetString();
  if (!in.AtEnd()) return NoPart(path);
  if (part.payload_ends.empty()) return part;
  Result<Manifest> parsed = ParseManifest(manifest, /*is_index=*/true);
  if (!parsed.ok()) return parsed.status().WithContext(path);
  part.manifest = std::move(*parsed);
  if (part.manifest.shards.size() != part.payload_ends.size()) return NoPart(path);
  return part;
}

Status Writer::FinishPart(Manifest manifest, std::span<const std::byte> caller_state) {
  State& state = *state_;
  if (state.in_tensor || state.is_finished || !state.journal) return Misuse("no part to finish");
  ByteWriter record;
  record.PutVector(std::vector<std::byte>(caller_state.begin(), caller_state.end()));
  manifest.tensors.assign(state.tensors.begin(), state.tensors.end());
  manifest.assets = state.assets;
  const bool is_empty = manifest.tensors.empty() && manifest.assets.empty();
  std::vector<uint64_t> ends;
  for (size_t i = 0; i < state.shards.size() && !is_empty; ++i) {
    ends.push_back(state.shards[i].end);
    manifest.shards.push_back({BaseNameOf(state.ShardPath(i)), ends.back(), std::string(32, '0')});
    state.total_bytes += ends.back();
    OCTAVO_RETURN_IF_ERROR(state.shards[i].file.CoverUpTo(ends.back()));
    OCTAVO_RETURN_IF_ERROR(state.shards[i].file.Sync());
  }
  record.PutVector(ends);
  record.PutString(is_empty ? "" : SerializeManifest(manifest));
  // A record of its own: of save points nothing is needed any more.
  OCTAVO_ASSIGN_OR_RETURN(Journal finished, Journal::Create(SiblingPath(state.path, "index")));
  OCTAVO_ASSIGN_OR_RETURN(AtomicFile named, AtomicFile::Adopt(state.path, finished.path()));
  OCTAVO_RETURN_IF_ERROR(
      finished.Append(kFingerprint, std::as_bytes(std::span(state.options.fingerprint))));
  OCTAVO_RETURN_IF_ERROR(finished.Append(kPart, record.bytes()));
  OCTAVO_RETURN_IF_ERROR(SyncFolder(state.path));
  const Status status = named.Commit(state.options.overwrite);
  state.is_finished = access(state.path.c_str(), F_OK) == 0;
  for (OpenShard& shard : state.shards) {
    if (state.is_finished && !is_empty) shard.file.Keep();
  }
  OCTAVO_RETURN_IF_ERROR(status);
  RemoveBeside(state.path, {BaseNameOf(state.journal->path())});
  state.manifest = std::move(manifest);
  state.files = {BaseNameOf(state.path)};
  state.lock.Release();
  return {};
}

// A part that is finished is not touched, unless it is to be overwritten.
Status Writer::State::CheckFinishedPart() {
  const Result<Part> part = ReadPart(path);
  if (part.code() == ErrorCode::kNotFound) return {};
  if (part.code() == ErrorCode::kIo) return part.status();
  if (options.resume && part.ok()) {
    const std::string difference = DescribeDifference(part->fingerprint, options.fingerprint);
    if (difference.empty()) {
      std::vector<std::string> payloads;
      for (size_t i = 0; i < part->payload_ends.size(); ++i) {
        payloads.push_back(BaseNameOf(ShardPath(i)));
      }
      RemoveLeftovers(path, payloads);
      is_complete = is_finished = true;
      return {};
    }
  }
  if (!options.overwrite) return Status(ErrorCode::kAlreadyExists, path + " exists already");
  // Its payloads go first with what an interrupted writer left; a part without them would be a lie.
  if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, "cannot remove", path);
  return SyncFolder(path);
}

Result<Writer> Writer::Join(const std::string& path, bool overwrite, std::span<const Part> parts) {
  OCTAVO_RETURN_IF_ERROR(CheckOutputName(path));
  Result<OutputLock> lock = OutputLock::Acquire(path);
  if (!lock.ok()) return lock.status();
  auto state =
      std::make_unique<State>(path, WriterOptions{.overwrite = overwrite}, std::move(*lock));
  OCTAVO_RETURN_IF_ERROR(state->CompleteJoin());
  if (state->is_complete) return Writer(std::move(state));
  OCTAVO_RETURN_IF_ERROR(state->ForgetInterrupted());
  if (!overwrite && access(path.c_str(), F_OK) == 0) {
    return Status(ErrorCode::kAlreadyExists, path + " exists already");
  }
  state->has_save_point = true;  // whatever happens, the parts stay
  for (const Part& part : parts) OCTAVO_RETURN_IF_ERROR(state->TakePart(part));
  return Writer(std::move(state));
}

Status Writer::State::TakePart(const Part& part) {
  Result<OutputLock> part_lock = OutputLock::Acquire(part.path);
  if (!part_lock.ok()) return part_lock.status();
  part_locks.push_back(std::move(*part_lock));
  consumed.push_back(BaseNameOf(part.path));
  const auto first = static_cast<uint32_t>(shards.size());
  std::vector<uint64_t> written(part.payload_ends.size());  // up to the end of the last chunk
  for (const auto* entries : {&part.manifest.tensors, &part.manifest.assets}) {
    for (const TensorEntry& entry : *entries) {
      if (entry.bytes > 0) written[entry.shard] = entry.offset + entry.bytes;
    }
  }
  for (size_t i = 0; i < part.payload_ends.size(); ++i) {
    char number[24];
    std::snprintf(number, sizeof(number), "%05zu", i);
    const std::string payload = SiblingPath(part.path, number);
    Result<AtomicFile> file = AtomicFile::Reopen(path, payload, written[i]);
    if (!file.ok()) {
      return Status(file.code(),
                    file.status().message() + "; convert this part again, with --force");
    }
    shards.push_back({.file = std::move(*file), .end = part.payload_ends[i]});
  }
  for (TensorEntry tensor : part.manifest.tensors) {
    tensor.shard += first;
    tensors.push_back(std::move(tensor));
  }
  for (TensorEntry asset : part.manifest.assets) {
    asset.shard += first;
    assets.push_back(std::move(asset));
  }
  return {};
}

// Ends a join that was killed while the files took their names.
Status Writer::State::CompleteJoin() {
  const auto records = Journal::Read(SiblingPath(path, "journal"));
  if (records.code() == ErrorCode::kIo) return records.status();
  if (!records.ok() || records->empty() || records->back().kind != kCommit) return {};
  const std::optional<CommitPlan> plan = CommitPlan::Decode(records->back().content);
  // A conversion's own shards have the output's name, those of parts the part's.
  if (!plan || plan->renames.front().temporary.find(".part-") == std::string::npos) return {};
  OCTAVO_ASSIGN_OR_RETURN(const bool is_committed, IsCommitted(path, *plan));
  if (!is_committed) {
    if (!IsWhole(path, *plan)) return {};
    OCTAVO_RETURN_IF_ERROR(CompleteCommit(path, *plan, options.overwrite));
  }
  const std::string folder = FolderPrefix(path);
  for (const std::string& name : plan->obsolete) {
    // A lock that the killed join left goes with the one that is taken now.
    if (name.find(".part-") != std::string::npos) (void)OutputLock::Acquire(folder + name).ok();
  }
  RemoveBeside(path, plan->obsolete);
  RemoveLeftovers(path, {});
  is_complete = is_finished = true;
  return {};
}

}  // namespace octavo::format
