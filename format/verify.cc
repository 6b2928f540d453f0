// Reader::Verify: every bit of a file, or of an index and its shards, against a digest or a rule.
#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "format/opened_file.h"
#include "format/payload_check.h"
#include "octavo/reader.h"

namespace octavo::format {
namespace {

class Verifier {
 public:
  Verifier(const ReaderOptions& options, const std::function<bool(const VerifyProgress&)>& progress)
      : options_(options), progress_(progress) {}

  // Whether header and manifest are sound; else a finding says why not.
  bool ExamineFile(OpenedFile* file);
  void OpenShards(const OpenedFile& index);
  // Payloads of all files that were added. Errors: kCancelled.
  Status CheckPayloads();
  void AddFile(OpenedFile file) { files_.push_back(std::move(file)); }
  std::vector<Finding> TakeFindings() && { return std::move(findings_); }

 private:
  void Work(const std::vector<std::pair<PayloadCheck*, uint64_t>>& tasks);
  bool Advance(uint64_t bytes);

  const ReaderOptions& options_;
  const std::function<bool(const VerifyProgress&)>& progress_;
  std::vector<OpenedFile> files_;
  std::vector<Finding> findings_;
  std::atomic<uint64_t> next_task_ = 0;
  std::atomic<bool> is_cancelled_ = false;
  std::mutex progress_mutex_;
  VerifyProgress done_;
};

bool Verifier::ExamineFile(OpenedFile* file) {
  std::string subject;
  const Status status = Examine(file, &subject);
  if (!status.ok()) findings_.push_back({file->name(), subject, status});
  return status.ok();
}

void Verifier::OpenShards(const OpenedFile& index) {
  const size_t num_shards = index.manifest.shards.size();
  for (size_t i = 0; i < num_shards; ++i) {
    OpenedFile shard;
    shard.path = ShardPath(index, i);
    Result<MappedFile> mapping = MappedFile::Open(shard.path);
    if (!mapping.ok()) {
      findings_.push_back({shard.name(), "file", mapping.status().WithContext("a shard (R36)")});
      continue;
    }
    shard.mapping = std::move(mapping).value();
    if (!ExamineFile(&shard)) continue;
    const Status status = CheckShard(index, i, shard);
    if (status.ok()) {
      files_.push_back(std::move(shard));
    } else {  // not of this index: nothing more is said of it, and its memory is given back
      findings_.push_back({shard.name(), "header", status});
    }
  }
  if (files_.size() != num_shards || !findings_.empty()) return;
  const Status status = CheckShardContent(index, files_);
  if (!status.ok()) findings_.push_back({index.name(), "manifest", status});
}

bool Verifier::Advance(uint64_t bytes) {
  if (progress_ == nullptr) return true;
  const std::lock_guard lock(progress_mutex_);
  if (is_cancelled_) return false;
  done_.bytes_done += bytes;
  if (!progress_(done_)) is_cancelled_ = true;
  return !is_cancelled_;
}

void Verifier::Work(const std::vector<std::pair<PayloadCheck*, uint64_t>>& tasks) {
  std::vector<std::byte> buffer;
  while (!is_cancelled_) {
    const uint64_t idx = next_task_.fetch_add(1);
    if (idx >= tasks.size()) return;
    const auto& [check, task_idx] = tasks[idx];
    if (!Advance(check->CheckChunk(task_idx, &buffer))) return;
  }
}

Status Verifier::CheckPayloads() {
  std::deque<PayloadCheck> checks;
  std::vector<std::pair<PayloadCheck*, uint64_t>> tasks;
  for (const OpenedFile& file : files_) {
    PayloadCheck& check = checks.emplace_back(file);
    for (uint64_t i = 0; i < check.num_tasks(); ++i) tasks.emplace_back(&check, i);
    for (const auto* entries : {&file.manifest.tensors, &file.manifest.assets}) {
      for (const TensorEntry& entry : *entries) done_.bytes_total += entry.bytes;
    }
  }
  const uint64_t wanted = options_.num_threads > 0 ? static_cast<uint64_t>(options_.num_threads)
                                                   : std::thread::hardware_concurrency();
  const uint64_t num_threads = std::clamp<uint64_t>(wanted, 1, std::max<uint64_t>(1, tasks.size()));
  std::vector<std::thread> threads;
  for (uint64_t i = 1; i < num_threads; ++i) threads.emplace_back([&] { Work(tasks); });
  Work(tasks);
  for (std::thread& thread : threads) thread.join();
  if (is_cancelled_) return Status(ErrorCode::kCancelled, "verification was cancelled");
  for (PayloadCheck& check : checks) {
    for (Finding& finding : check.Finish()) findings_.push_back(std::move(finding));
  }
  return {};
}

}  // namespace

Result<std::vector<Finding>> Reader::Verify(
    const std::string& path, const ReaderOptions& options,
    const std::function<bool(const VerifyProgress&)>& progress) {
  OpenedFile file;
  file.path = path;
  OCTAVO_ASSIGN_OR_RETURN(file.mapping, MappedFile::Open(path));
  Verifier verifier(options, progress);
  if (verifier.ExamineFile(&file)) {
    if (file.is_index()) {
      verifier.OpenShards(file);
    } else {
      verifier.AddFile(std::move(file));
    }
    OCTAVO_RETURN_IF_ERROR(verifier.CheckPayloads().WithContext(path));
  }
  return std::move(verifier).TakeFindings();
}

}  // namespace octavo::format
