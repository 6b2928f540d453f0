// What a writer leaves behind so that a later one goes on: save points in a journal beside the
// output.
#include <unistd.h>

#include <algorithm>
#include <map>

#include "format/entry_stream.h"
#include "format/writer_state.h"

namespace octavo::format {
namespace {

constexpr auto kFingerprint = static_cast<uint32_t>(RecordKind::kFingerprint);
constexpr auto kSavePoint = static_cast<uint32_t>(RecordKind::kSavePoint);
constexpr auto kCommit = static_cast<uint32_t>(RecordKind::kCommit);

std::map<std::string, std::string> Lines(std::string_view text) {
  std::map<std::string, std::string> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t tab = std::min(line.find('\t'), line.size());
    lines.emplace(line.substr(0, tab), line.substr(std::min(tab + 1, line.size())));
  }
  return lines;
}

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Status CannotResume(const std::string& path, const std::string& why) {
  return Status(ErrorCode::kInvalidArgument,
                path + ": cannot resume: " + why + "; start afresh without --resume");
}

}  // namespace

std::string DescribeDifference(const std::string& before, const std::string& now) {
  const auto old_lines = Lines(before), new_lines = Lines(now);
  for (const auto& [key, value] : old_lines) {
    const auto it = new_lines.find(key);
    if (it == new_lines.end()) return key + " was \"" + value + "\" and is not there any more";
    if (it->second != value) return key + " was \"" + value + "\" and is \"" + it->second + "\"";
  }
  for (const auto& [key, value] : new_lines) {
    if (!old_lines.contains(key)) return key + " is \"" + value + "\" and was not there";
  }
  return "";
}

// ---- Going on ----

Result<bool> Writer::State::Resume() {
  std::vector<JournalRecord> records;
  Result<Journal> opened = Journal::Open(SiblingPath(path, "journal"), &records);
  if (opened.code() == ErrorCode::kNotFound) return false;
  if (!opened.ok()) return opened.status();
  if (records.size() < 2) return false;  // it had not come to its first save point
  const std::string before(AsText(records.front().content));
  if (records.front().kind != kFingerprint) return false;
  const std::string difference = DescribeDifference(before, options.fingerprint);
  if (!difference.empty()) return CannotResume(path, difference);
  if (records.back().kind == kCommit) {
    const std::optional<CommitPlan> plan = CommitPlan::Decode(records.back().content);
    if (!plan) return CannotResume(path, "its journal is damaged");
    OCTAVO_ASSIGN_OR_RETURN(const bool is_committed, IsCommitted(path, *plan));
    if (!is_committed) {
      if (!IsWhole(path, *plan)) return false;
      OCTAVO_RETURN_IF_ERROR(CompleteCommit(path, *plan, options.overwrite));
    }
    RemoveBeside(path, plan->obsolete);
    RemoveLeftovers(path, {});
    is_complete = is_finished = true;
    return true;
  }
  if (access(ShardPath(0).c_str(), F_OK) != 0) return false;  // removed by hand
  has_save_point = true;  // from here on an error leaves everything as it is
  for (const JournalRecord& record : records) {
    if (record.kind != kSavePoint) continue;
    ByteReader in(record.content);
    const auto writer_part = in.GetVector<std::byte>();
    saved_states.push_back(in.GetVector<std::byte>());
    const Status status =
        in.AtEnd() ? Restore(writer_part) : CannotResume(path, "its journal is damaged");
    if (!status.ok()) return status;
  }
  std::vector<std::string> kept = {BaseNameOf(opened->path())};
  for (size_t i = 0; i < shards.size(); ++i) kept.push_back(BaseNameOf(ShardPath(i)));
  RemoveLeftovers(path, kept);
  std::vector<uint64_t> written(shards.size());  // up to the end of the last chunk
  for (const TensorEntry& entry : tensors) {
    if (entry.shard >= shards.size()) return CannotResume(path, "its journal is damaged");
    if (entry.bytes > 0) written[entry.shard] = entry.offset + entry.bytes;
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    OCTAVO_ASSIGN_OR_RETURN(shards[i].file, AtomicFile::Reopen(path, ShardPath(i), written[i]));
  }
  journal = std::move(*opened);
  return true;
}

Status Writer::State::Restore(std::span<const std::byte> writer_part) {
  ByteReader in(writer_part);
  const std::vector<uint64_t> ends = in.GetVector<uint64_t>();
  packer = in.Get(packer);
  in_tensor = in.Get<uint8_t>() != 0;
  tensors.resize(std::min<uint64_t>(in.Get<uint64_t>(), tensors.size()));
  for (auto count = in.Get<uint64_t>(); count > 0 && in.ok(); --count) {
    tensors.push_back(GetEntry(&in));
  }
  if (!in.AtEnd() || ends.size() < shards.size())
    return CannotResume(path, "its journal is damaged");
  shards.resize(ends.size());
  for (size_t i = 0; i < ends.size(); ++i) shards[i].end = ends[i];
  num_saved_tensors = tensors.size() - in_tensor;
  num_synced_shards = static_cast<uint32_t>(ends.size());
  return {};
}

Status Writer::State::ForgetInterrupted() const {
  const auto records = Journal::Read(SiblingPath(path, "journal"));
  if (records.code() == ErrorCode::kIo) return records.status();
  if (records.ok() && !records->empty() && records->back().kind == kCommit) {
    const std::optional<CommitPlan> plan = CommitPlan::Decode(records->back().content);
    if (plan) {
      OCTAVO_ASSIGN_OR_RETURN(const bool is_committed, IsCommitted(path, *plan));
      if (is_committed) RemoveBeside(path, plan->obsolete);
      if (!is_committed) UndoCommit(path, *plan, Undo::kRename);
    }
  }
  RemoveLeftovers(path, {});
  return {};
}

// ---- Saving ----

Status Writer::State::StartJournal() {
  OCTAVO_ASSIGN_OR_RETURN(journal, Journal::Create(SiblingPath(path, "journal")));
  return journal->Append(kFingerprint, std::as_bytes(std::span(options.fingerprint)));
}

SavePoint Writer::TakeSavePoint(std::span<const std::byte> caller_state) {
  State& state = *state_;
  std::vector<uint64_t> ends;
  for (const OpenShard& shard : state.shards) ends.push_back(shard.end);
  ByteWriter part;
  part.PutVector(ends);
  part.Put(state.packer);
  part.Put<uint8_t>(state.in_tensor);
  part.Put<uint64_t>(state.num_saved_tensors);
  part.Put<uint64_t>(state.tensors.size() - state.num_saved_tensors);
  for (size_t i = state.num_saved_tensors; i < state.tensors.size(); ++i) {
    PutEntry(state.tensors[i], &part);
  }
  state.num_saved_tensors = state.tensors.size() - state.in_tensor;
  ByteWriter record;
  record.PutVector(part.bytes());
  record.PutVector(std::vector<std::byte>(caller_state.begin(), caller_state.end()));
  return {record.Take(), std::move(ends)};
}

Status Writer::Save(const SavePoint& point) {
  State& state = *state_;
  if (!state.journal) return Misuse("a save point without a journal");
  // Of the shards saved before, only the last can have grown.
  const uint32_t first = state.num_synced_shards == 0 ? 0 : state.num_synced_shards - 1;
  for (uint32_t i = first; i < point.payload_ends.size(); ++i) {
    const AtomicFile* file = nullptr;
    {
      const std::lock_guard lock_shards(state.shards_mutex);
      file = &state.shards[i].file;
    }
    OCTAVO_RETURN_IF_ERROR(file->CoverUpTo(point.payload_ends[i]));  // its end may be a hole
    OCTAVO_RETURN_IF_ERROR(file->SyncData());
  }
  const auto num_shards = static_cast<uint32_t>(point.payload_ends.size());
  if (num_shards > state.num_synced_shards) {
    OCTAVO_RETURN_IF_ERROR(SyncFolder(state.path));
  }
  state.num_synced_shards = num_shards;
  OCTAVO_RETURN_IF_ERROR(state.journal->Append(kSavePoint, point.record));
  state.has_save_point = true;
  return {};
}

bool Writer::is_complete() const { return state_->is_complete; }

const std::vector<std::vector<std::byte>>& Writer::saved_states() const {
  return state_->saved_states;
}

void Writer::Discard() { state_->has_save_point = false; }
bool Writer::has_save_point() const { return state_->has_save_point; }

}  // namespace octavo::format
