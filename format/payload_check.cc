#include "format/payload_check.h"

#include <algorithm>

#include "format/layout.h"

namespace octavo::format {
namespace {

std::string Range(uint64_t begin, uint64_t end) {
  return "bytes " + std::to_string(begin) + " to " + std::to_string(end - 1);
}

}  // namespace

PayloadCheck::PayloadCheck(const OpenedFile& file) : file_(file) {
  for (const Module& module : file.manifest.modules) {
    if (module.scheme) sums_of_[module.scheme->codes].push_back(&sums_.emplace_back(module));
  }
  for (const TensorEntry& tensor : file.manifest.tensors) {
    const auto found = sums_of_.find(tensor.name);
    const auto* sums = found == sums_of_.end() ? nullptr : &found->second;
    if (const Payload* payload = AddEntry(tensor, sums)) tensors_.emplace(tensor.name, payload);
  }
  for (const TensorEntry& asset : file.manifest.assets) AddEntry(asset, nullptr);
}

const Payload* PayloadCheck::AddEntry(const TensorEntry& entry,
                                      const std::vector<CodeSums*>* sums) {
  Result<Payload> payload = Payload::Make(file_.bytes(), entry);
  if (!payload.ok()) {
    Add(entry.offset, entry.name, payload.status());
    damaged_.insert(entry.name);
    return nullptr;
  }
  const Payload* kept = &payloads_.emplace_back(std::move(payload).value());
  for (uint64_t i = 0; i < kept->cut().num_chunks; ++i) tasks_.push_back({kept, &entry, sums, i});
  return kept;
}

void PayloadCheck::Add(uint64_t offset, const std::string& subject, const Status& status) {
  const std::lock_guard lock(mutex_);
  findings_.emplace(offset, Finding{file_.name(), subject, status});
}

uint64_t PayloadCheck::CheckChunk(uint64_t task_idx, std::vector<std::byte>* buffer) {
  const Task& task = tasks_[task_idx];
  const auto raw = task.payload->RawChunk(task.chunk_idx, /*check=*/true, buffer);
  const uint64_t begin = task.payload->ChunkOffset(task.chunk_idx);
  const uint64_t bytes = task.payload->StoredChunk(task.chunk_idx).size();
  if (!raw.ok()) {
    const std::string where =
        "chunk " + std::to_string(task.chunk_idx) + ", " + Range(begin, begin + bytes);
    Add(begin, task.entry->name, raw.status().WithContext(where));
    const std::lock_guard lock(mutex_);
    damaged_.insert(task.entry->name);
  } else if (task.sums != nullptr) {
    const uint64_t first_row = task.payload->cut().At(task.chunk_idx).first_row;
    for (CodeSums* sums : *task.sums) sums->Add(first_row, *raw);
  }
  return bytes;
}

// R22.
void PayloadCheck::CheckPadding() {
  const auto check = [this](uint64_t begin, uint64_t end) {
    const auto gap = file_.bytes().subspan(begin, end - begin);
    const auto bad = std::ranges::find_if(gap, [](std::byte b) { return b != std::byte{0}; });
    if (bad == gap.end()) return;
    const uint64_t at = begin + static_cast<uint64_t>(bad - gap.begin());
    Add(begin, "padding",
        Status(ErrorCode::kInvalidFile, "byte " + std::to_string(at) + ", within " +
                                            Range(begin, end) + ", is not zero (R22)"));
  };
  uint64_t end = kHeaderBytes;
  for (const auto* entries : {&file_.manifest.tensors, &file_.manifest.assets}) {
    for (const TensorEntry& entry : *entries) {
      check(end, entry.offset);
      end = entry.offset + entry.bytes;
    }
  }
  check(end, file_.header.values.manifest_offset);
}

Result<std::vector<std::byte>> PayloadCheck::Read(const std::string& tensor) const {
  const Payload& payload = *tensors_.at(tensor);
  std::vector<std::byte> bytes;
  std::vector<std::byte> buffer;
  for (uint64_t i = 0; i < payload.cut().num_chunks; ++i) {
    OCTAVO_ASSIGN_OR_RETURN(const auto raw, payload.RawChunk(i, /*check=*/false, &buffer));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
  }
  return bytes;
}

void PayloadCheck::CheckModule(const CodeSums& sums) {
  const Module& module = sums.module();
  const SchemeDescriptor& scheme = *module.scheme;
  for (const std::string* tensor :
       {&scheme.codes, &scheme.scales, &scheme.code_sum, &scheme.zero_point, &module.kept_index}) {
    if (damaged_.contains(*tensor)) return;  // that was said already
  }
  const auto read = [this](const std::string& tensor) { return Read(tensor); };
  for (const Finding& finding : CheckValues(sums, read)) {
    const uint64_t offset = tensors_.at(finding.subject)->ChunkOffset(0);
    Add(offset, finding.subject, finding.status);
  }
}

std::vector<Finding> PayloadCheck::Finish() {
  CheckPadding();
  for (const CodeSums& sums : sums_) CheckModule(sums);
  std::vector<Finding> findings;
  for (auto& [offset, finding] : findings_) findings.push_back(std::move(finding));
  return findings;
}

}  // namespace octavo::format
