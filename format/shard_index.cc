// What an index and its shards must agree on (docs/format.md, section 9).
#include <unordered_map>

#include "format/manifest_rules.h"
#include "format/opened_file.h"
#include "format/quote.h"

namespace octavo::format {
namespace {

Status Disagrees(std::string_view noun, std::string_view name) {
  return Broken(noun, name, "index and shards disagree about it", "R36");
}

// The entries of the index with each shard number are that shard's, in order.
Status CheckEntries(std::string_view noun, const std::vector<TensorEntry>& index_entries,
                    const std::vector<OpenedFile>& shards,
                    std::vector<TensorEntry> Manifest::*member) {
  std::vector<size_t> next(shards.size(), 0);
  for (const TensorEntry& expected : index_entries) {
    const std::vector<TensorEntry>& entries = shards[expected.shard].manifest.*member;
    const size_t at = next[expected.shard]++;
    if (at >= entries.size()) return Disagrees(noun, expected.name);
    TensorEntry entry = entries[at];
    entry.shard = expected.shard;
    if (!(entry == expected)) return Disagrees(noun, expected.name);
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::vector<TensorEntry>& entries = shards[i].manifest.*member;
    if (next[i] < entries.size()) return Disagrees(noun, entries[next[i]].name);
  }
  return {};
}

Status CheckModules(const Manifest& index, const std::vector<OpenedFile>& shards) {
  std::unordered_map<std::string_view, const Module*> expected;
  for (const Module& module : index.modules) expected.emplace(module.name, &module);
  for (const OpenedFile& shard : shards) {
    for (const Module& module : shard.manifest.modules) {
      const auto found = expected.find(module.name);
      if (found == expected.end() || !(*found->second == module)) {
        return Disagrees("module", module.name);
      }
      expected.erase(found);
    }
  }
  return expected.empty() ? Status() : Disagrees("module", expected.begin()->second->name);
}

}  // namespace

std::string ShardPath(const OpenedFile& index, size_t shard_idx) {
  const size_t slash = index.path.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "" : index.path.substr(0, slash + 1);
  return folder + index.manifest.shards[shard_idx].name;
}

Status CheckShard(const OpenedFile& index, size_t shard_idx, const OpenedFile& shard) {
  const ShardEntry& expected = index.manifest.shards[shard_idx];
  const FileHeader& header = shard.header.values;
  const auto broken = [&](const std::string& what) {
    return Broken("shard", expected.name, what, "R36");
  };
  if (shard.is_index()) return broken("it is an index itself");
  if (header.shard_index != shard_idx || header.shard_count != index.manifest.shards.size()) {
    return broken("it is shard " + std::to_string(header.shard_index) + " of " +
                  std::to_string(header.shard_count) + ", the index has it as " +
                  std::to_string(shard_idx) + " of " +
                  std::to_string(index.manifest.shards.size()));
  }
  if (header.file_bytes != expected.bytes) {
    return broken("it has " + std::to_string(header.file_bytes) + " bytes, the index says " +
                  std::to_string(expected.bytes));
  }
  if (header.manifest_xxh3 != expected.manifest_xxh3) {
    return broken("it has another manifest than the index says");
  }
  if (!(shard.manifest.quantization == index.manifest.quantization)) {
    return broken("it has another quantization than the index says");
  }
  return {};
}

Status CheckShardContent(const OpenedFile& index, const std::vector<OpenedFile>& shards) {
  const Manifest& manifest = index.manifest;
  OCTAVO_RETURN_IF_ERROR(CheckEntries("tensor", manifest.tensors, shards, &Manifest::tensors));
  OCTAVO_RETURN_IF_ERROR(CheckEntries("asset", manifest.assets, shards, &Manifest::assets));
  return CheckModules(manifest, shards);
}

}  // namespace octavo::format
