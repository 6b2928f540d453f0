#include "format/output_set.h"

#include <unistd.h>

#include <span>

#include "format/header.h"
#include "format/manifest_rules.h"
#include "format/opened_file.h"
#include "format/shard_plan.h"

namespace octavo::format {
namespace {

// What the caller gave breaks a rule: nothing is written.
Status SelfCheck(const std::string& text, const Manifest& manifest, uint64_t manifest_offset) {
  const bool is_index = !manifest.shards.empty();
  const Result<Manifest> parsed = ParseManifest(text, is_index);
  Status status = parsed.status();
  if (status.ok()) status = CheckPlaces(*parsed, is_index, manifest_offset);
  if (status.ok()) return {};
  return Status(ErrorCode::kInvalidArgument, "cannot write this: " + status.message());
}

}  // namespace

Result<FinishedFile> FinishFile(const AtomicFile& file, const Manifest& manifest,
                                uint64_t payload_end, ShardPosition position) {
  const std::string text = SerializeManifest(manifest);
  const auto text_bytes = std::as_bytes(std::span(text));
  Header header;
  header.values.manifest_offset = RoundUp(payload_end, kAlignment);
  header.values.manifest_bytes = text.size();
  header.values.file_bytes = header.values.manifest_offset + text.size();
  header.values.required_features = manifest.RequiredFeatures();
  header.values.shard_index = position.index;
  header.values.shard_count = position.count;
  header.manifest_xxh3 = Xxh3Wide(text_bytes);
  OCTAVO_RETURN_IF_ERROR(SelfCheck(text, manifest, header.values.manifest_offset));
  if (text.size() > kMaxManifestBytes) {
    return Status(ErrorCode::kLimit, "the manifest would be larger than 1 GiB (R7)");
  }
  OCTAVO_RETURN_IF_ERROR(file.WriteAt(header.values.manifest_offset, text_bytes));
  OCTAVO_RETURN_IF_ERROR(file.Sync());
  const auto encoded = EncodeHeader(header);
  OCTAVO_RETURN_IF_ERROR(file.WriteAt(0, encoded));
  return FinishedFile{
      header.values.file_bytes, {encoded.begin(), encoded.end()}, Hex(header.manifest_xxh3)};
}

Result<std::vector<std::string>> OwnShardsOf(const std::string& path) {
  const Result<OpenedFile> index = OpenFile(path);
  std::vector<std::string> names, digests;
  if (index.code() == ErrorCode::kIo) return index.status();
  if (!index.ok()) return names;
  const std::vector<ShardEntry>& shards = index->manifest.shards;
  for (const ShardEntry& shard : shards) digests.push_back(shard.manifest_xxh3);
  for (uint32_t i = 0; i < shards.size(); ++i) {
    if (shards[i].name != ShardName(StemOf(path), digests, i)) continue;
    const Result<OpenedFile> shard = OpenFile(FolderPrefix(path) + shards[i].name);
    if (shard.code() == ErrorCode::kIo) return shard.status();
    if (shard.ok() && Hex(shard->header.manifest_xxh3) == shards[i].manifest_xxh3) {
      names.push_back(shards[i].name);
    }
  }
  return names;
}

CommitPlan PlanCommit(const std::vector<AtomicFile*>& outputs, std::vector<std::byte> output_header,
                      std::vector<std::string> obsolete) {
  CommitPlan plan;
  for (const AtomicFile* file : outputs) {
    plan.renames.push_back({.temporary = BaseNameOf(file->temporary_path()),
                            .final_name = BaseNameOf(file->final_path()),
                            .was_there = access(file->final_path().c_str(), F_OK) == 0});
  }
  plan.header = std::move(output_header);
  plan.obsolete = std::move(obsolete);
  return plan;
}

}  // namespace octavo::format
