// The end of writing: manifests, headers, names, and the commit.
#include <algorithm>
#include <unordered_map>

#include "format/output_set.h"
#include "format/shard_plan.h"
#include "format/writer_state.h"

namespace octavo::format {
namespace {

// The first tensor that a module names; empty for a module without.
std::string_view FirstTensor(const Module& module) {
  if (module.scheme) return module.scheme->codes;
  if (!module.weight.empty()) return module.weight;
  if (!module.bias.empty()) return module.bias;
  return module.tensors.empty() ? std::string_view() : module.tensors.front();
}

// The whole manifest's parts for each shard: its own entries, and modules by their first tensor.
std::vector<Manifest> SplitManifest(const Manifest& whole, size_t num_shards) {
  std::vector<Manifest> parts(num_shards);
  for (Manifest& part : parts) {
    part.converter = whole.converter;
    part.source = whole.source;
    part.quantization = whole.quantization;
  }
  std::unordered_map<std::string_view, uint32_t> shard_of;
  const auto add = [](const TensorEntry& entry, std::vector<TensorEntry>* entries) {
    entries->push_back(entry);
    entries->back().shard = 0;
  };
  for (const TensorEntry& tensor : whole.tensors) {
    shard_of.emplace(tensor.name, tensor.shard);
    add(tensor, &parts[tensor.shard].tensors);
  }
  for (const TensorEntry& asset : whole.assets) add(asset, &parts[asset.shard].assets);
  for (const Module& module : whole.modules) {
    const auto found = shard_of.find(FirstTensor(module));
    parts[found == shard_of.end() ? 0 : found->second].modules.push_back(module);
  }
  return parts;
}

std::string BaseName(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

}  // namespace

Status Writer::State::FinishSingle(const Manifest& manifest) {
  OpenShard& shard = shards.front();
  OCTAVO_ASSIGN_OR_RETURN(const FinishedFile finished,
                          FinishFile(shard.file, manifest, shard.end, {}));
  OCTAVO_RETURN_IF_ERROR(shard.file.Commit(options.overwrite));
  files = {BaseName(path)};
  total_bytes = finished.bytes;
  return {};
}

Status Writer::State::FinishSharded(Manifest manifest) {
  const auto count = static_cast<uint32_t>(shards.size());
  const std::vector<Manifest> parts = SplitManifest(manifest, count);
  std::vector<std::string> digests;
  for (uint32_t i = 0; i < count; ++i) {
    OCTAVO_ASSIGN_OR_RETURN(const FinishedFile finished,
                            FinishFile(shards[i].file, parts[i], shards[i].end, {i, count}));
    manifest.shards.push_back({"", finished.bytes, finished.manifest_xxh3});
    digests.push_back(finished.manifest_xxh3);
    total_bytes += finished.bytes;
  }
  const std::string folder = path.substr(0, path.size() - BaseName(path).size());
  files = {BaseName(path)};
  std::vector<AtomicFile> outputs;
  for (uint32_t i = 0; i < count; ++i) {
    manifest.shards[i].name = ShardName(StemOf(path), digests, i);
    files.push_back(manifest.shards[i].name);
    shards[i].file.SetFinalPath(folder + manifest.shards[i].name);
    outputs.push_back(std::move(shards[i].file));
  }
  OCTAVO_ASSIGN_OR_RETURN(AtomicFile index, AtomicFile::Create(path));
  OCTAVO_ASSIGN_OR_RETURN(const FinishedFile finished,
                          FinishFile(index, manifest, kHeaderBytes, {0, count}));
  total_bytes += finished.bytes;
  return CommitSharded(std::move(outputs), std::move(index), options.overwrite);
}

Status Writer::Finish(Manifest manifest) {
  State& state = *state_;
  if (state.in_tensor || state.is_finished) return Misuse("Finish within a tensor or twice");
  state.is_finished = true;
  manifest.tensors.assign(state.tensors.begin(), state.tensors.end());
  manifest.assets = state.assets;
  manifest.shards.clear();
  const std::vector<std::string> old_shards =
      state.options.overwrite ? OwnShardsOf(state.path) : std::vector<std::string>();
  OCTAVO_RETURN_IF_ERROR(state.shards.size() == 1 ? state.FinishSingle(manifest)
                                                  : state.FinishSharded(std::move(manifest)));
  std::vector<std::string> removed;
  for (const std::string& name : old_shards) {
    if (std::ranges::find(state.files, name) == state.files.end()) removed.push_back(name);
  }
  RemoveBeside(state.path, removed);
  return {};
}

}  // namespace octavo::format
