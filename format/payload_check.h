// The payloads of one .8vo file against R22 to R24 and R26 to R29, chunk by chunk on many threads.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "format/opened_file.h"
#include "format/payload.h"
#include "format/verify_values.h"
#include "octavo/reader.h"

namespace octavo::format {

// Tasks are the file's chunks, in file order. Requires: the file was examined; it outlives this.
class PayloadCheck {
 public:
  explicit PayloadCheck(const OpenedFile& file);

  uint64_t num_tasks() const { return tasks_.size(); }
  // Checks one chunk (R23, R24) and gathers its codes; how many stored bytes that was. Thread-safe; *buffer is the
  // thread's own, for decompression.
  uint64_t CheckChunk(uint64_t task_idx, std::vector<std::byte>* buffer);
  // After all chunks: padding and values. All findings, in file order.
  std::vector<Finding> Finish();

 private:
  struct Task {
    const Payload* payload;
    const TensorEntry* entry;
    const std::vector<CodeSums*>* sums;  // of the modules whose codes these are; null: none
    uint64_t chunk_idx;
  };
  // The payload; null, with a finding, where it cannot be one.
  const Payload* AddEntry(const TensorEntry& entry, const std::vector<CodeSums*>* sums);
  void CheckPadding();
  void CheckModule(const CodeSums& sums);
  Result<std::vector<std::byte>> Read(const std::string& tensor) const;
  void Add(uint64_t offset, const std::string& subject, const Status& status);

  const OpenedFile& file_;
  std::deque<Payload> payloads_;  // of tensors, then assets
  std::unordered_map<std::string_view, const Payload*> tensors_;
  std::deque<CodeSums> sums_;
  std::unordered_map<std::string_view, std::vector<CodeSums*>> sums_of_;  // by codes tensor
  std::vector<Task> tasks_;
  std::mutex mutex_;  // of the two below
  std::multimap<uint64_t, Finding> findings_;     // by offset in the file
  std::unordered_set<std::string_view> damaged_;  // tensors
};

}  // namespace octavo::format
