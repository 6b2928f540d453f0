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

}  // namespace

Status Writer::State::FinishSingle() {
  OpenShard& shard = shards.front();
  OCTAVO_ASSIGN_OR_RETURN(const FinishedFile finished,
                          FinishFile(shard.file, manifest, shard.end, {}));
  files = {BaseNameOf(path)};
  total_bytes = finished.bytes;
  return Commit({&shard.file}, finished.header);
}

Status Writer::State::FinishSharded() {
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
  const std::string folder = path.substr(0, path.size() - BaseNameOf(path).size());
  files = {BaseNameOf(path)};
  std::vector<AtomicFile*> outputs;
  for (uint32_t i = 0; i < count; ++i) {
    manifest.shards[i].name = ShardName(StemOf(path), digests, i);
    files.push_back(manifest.shards[i].name);
    shards[i].file.SetFinalPath(folder + manifest.shards[i].name);
    outputs.push_back(&shards[i].file);
  }
  OCTAVO_ASSIGN_OR_RETURN(index, AtomicFile::CreateAs(path, SiblingPath(path, "index")));
  OCTAVO_ASSIGN_OR_RETURN(const FinishedFile finished,
                          FinishFile(*index, manifest, kHeaderBytes, {0, count}));
  total_bytes += finished.bytes;
  outputs.push_back(&*index);
  return Commit(outputs, finished.header);
}

Status Writer::State::Commit(const std::vector<AtomicFile*>& outputs,
                             const std::vector<std::byte>& output_header) {
  std::vector<std::string> old_shards;
  if (options.overwrite) {
    OCTAVO_ASSIGN_OR_RETURN(old_shards, OwnShardsOf(path));
  }
  std::erase_if(old_shards, [&](const std::string& name) {
    return std::ranges::find(files, name) != files.end();
  });
  old_shards.insert(old_shards.end(), consumed.begin(), consumed.end());
  const CommitPlan plan = PlanCommit(outputs, output_header, std::move(old_shards));
  for (const AtomicFile* file : outputs) OCTAVO_RETURN_IF_ERROR(file->Sync());
  if (!journal) OCTAVO_RETURN_IF_ERROR(StartJournal());
  OCTAVO_RETURN_IF_ERROR(
      journal->Append(static_cast<uint32_t>(RecordKind::kCommit), plan.Encode()));
  OCTAVO_RETURN_IF_ERROR(SyncFolder(path));
  for (AtomicFile* file : outputs) {
    const bool is_output = file == outputs.back();
    // A shard that is there already has the same name, hence the same digest: it is this one.
    const Status status = file->Commit(!is_output || options.overwrite);
    if (status.ok()) continue;
    const Result<bool> is_committed = IsCommitted(path, plan);
    is_half_committed = !is_committed.ok() || *is_committed;  // then the next writer ends it
    if (!is_half_committed) {
      UndoCommit(path, plan, has_save_point ? Undo::kRename : Undo::kRemove);
    }
    return status;
  }
  RemoveBeside(path, plan.obsolete);
  return {};
}

Status Writer::Finish(Manifest manifest) {
  State& state = *state_;
  if (state.in_tensor || state.is_finished) return Misuse("Finish within a tensor or twice");
  manifest.tensors.assign(state.tensors.begin(), state.tensors.end());
  manifest.assets = state.assets;
  manifest.shards.clear();
  state.manifest = std::move(manifest);
  const Status status = state.shards.size() == 1 ? state.FinishSingle() : state.FinishSharded();
  state.is_finished = status.ok();
  if (status.ok()) {
    RemoveBeside(state.path, {BaseNameOf(state.journal->path())});
    state.lock.Release();
  }
  return status;
}

}  // namespace octavo::format
