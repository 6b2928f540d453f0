#include "octavo/checkpoint.h"

#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>

#include "format/checkpoint_folder.h"
#include "format/checkpoint_index.h"
#include "format/quote.h"
#include "format/torch_file.h"
#include "octavo/safetensors.h"

namespace octavo::format {
namespace {

constexpr uint64_t kMaxIndexBytes = 100'000'000;  // as a safetensors header

Status Invalid(std::string what) { return Status(ErrorCode::kInvalidFile, std::move(what)); }

using WeightFile = std::variant<SafetensorsFile, TorchFile>;

Result<WeightFile> OpenWeights(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  std::string start(std::min<uint64_t>(file.size(), 8), '\0');
  OCTAVO_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(start))));
  if (LooksLikeTorch(path, start)) {
    OCTAVO_ASSIGN_OR_RETURN(TorchFile torch, TorchFile::Open(path));
    return WeightFile(std::move(torch));
  }
  OCTAVO_ASSIGN_OR_RETURN(SafetensorsFile safetensors, SafetensorsFile::Open(path));
  return WeightFile(std::move(safetensors));
}

}  // namespace

struct Checkpoint::State {
  std::vector<WeightFile> opened;
  std::vector<CheckpointFile> files;
  std::vector<SourceTensor> tensors;
  std::unordered_map<std::string_view, size_t> by_name;  // views into `tensors`
  CheckpointAssets assets;
  std::vector<std::string> asset_names;
  std::vector<std::string> warnings;

  Status OpenFile(const std::string& folder, std::string_view name);
  Status IndexTensors();
  Status OpenShards(const CheckpointEntry& entry);
  Status CompareWithIndex(const CheckpointIndex& index) const;
  void CheckTotalSize(const CheckpointIndex& index, const std::string& index_path);
  const std::string& file_of(const SourceTensor& tensor) const { return files[tensor.file].name; }
};

Status Checkpoint::State::OpenFile(const std::string& folder, std::string_view name) {
  OCTAVO_ASSIGN_OR_RETURN(WeightFile file, OpenWeights(folder + std::string(name)));
  const uint32_t file_idx = static_cast<uint32_t>(files.size());
  std::visit(
      [&](const auto& weights) {
        files.push_back({weights.path(), std::string(name), weights.file_bytes()});
        for (const SafetensorsEntry& entry : weights.tensors()) {
          tensors.push_back(
              {entry.name, entry.dtype, entry.shape, file_idx, entry.offset, entry.bytes});
        }
      },
      file);
  opened.push_back(std::move(file));
  return {};
}

// After the last OpenFile: `tensors` must not move any more.
Status Checkpoint::State::IndexTensors() {
  by_name.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto [it, added] = by_name.emplace(tensors[i].name, i);
    if (added) continue;
    return Invalid("tensor " + Quote(tensors[i].name) + " is in two shards, " +
                   Quote(file_of(tensors[it->second])) + " and " + Quote(file_of(tensors[i])));
  }
  return {};
}

Status Checkpoint::State::OpenShards(const CheckpointEntry& entry) {
  const std::string index_path = entry.folder + entry.name;
  const Result<std::string> text = ReadSmallFile(index_path, kMaxIndexBytes);
  if (text.code() == ErrorCode::kLimit) return Invalid(text.status().message());
  if (!text.ok()) return text.status();
  const Result<CheckpointIndex> index =
      ParseCheckpointIndex(*text, entry.name.ends_with(".bin.index.json"));
  if (!index.ok()) return index.status().WithContext(index_path);
  std::string missing;
  for (const std::string_view shard : index->shards()) {
    struct stat info;
    if (stat((entry.folder + std::string(shard)).c_str(), &info) == 0 || errno != ENOENT) continue;
    missing += (missing.empty() ? "" : ", ") + Quote(shard);
  }
  if (!missing.empty()) {
    return Status(ErrorCode::kNotFound, index_path + ": missing shards: " + missing);
  }
  for (const std::string_view shard : index->shards()) {
    OCTAVO_RETURN_IF_ERROR(OpenFile(entry.folder, shard));
  }
  Status status = IndexTensors();
  if (status.ok()) status = CompareWithIndex(*index);
  if (!status.ok()) return status.WithContext(index_path);
  CheckTotalSize(*index, index_path);
  return {};
}

Status Checkpoint::State::CompareWithIndex(const CheckpointIndex& index) const {
  for (const auto& [tensor, shard] : index.weight_map) {
    const auto it = by_name.find(tensor);
    if (it == by_name.end()) {
      return Invalid("tensor " + Quote(tensor) + ": the index places it in " + Quote(shard) +
                     ", which does not have it");
    }
    if (const std::string& actual = file_of(tensors[it->second]); actual != shard) {
      return Invalid("tensor " + Quote(tensor) + ": the index places it in " + Quote(shard) +
                     ", but it is in " + Quote(actual));
    }
  }
  for (const SourceTensor& tensor : tensors) {
    if (index.weight_map.contains(tensor.name)) continue;
    return Invalid("tensor " + Quote(tensor.name) + " is in " + Quote(file_of(tensor)) +
                   ", but not in the index");
  }
  return {};
}

void Checkpoint::State::CheckTotalSize(const CheckpointIndex& index,
                                       const std::string& index_path) {
  // Tensors of a pickle may share their bytes: then nothing can be said.
  if (std::holds_alternative<TorchFile>(opened.front())) return;
  uint64_t bytes = 0;
  for (const SourceTensor& tensor : tensors) bytes += tensor.bytes;
  if (!index.total_size || *index.total_size == static_cast<double>(bytes)) return;
  warnings.push_back(index_path + ": its total_size is not that of the tensors, " +
                     std::to_string(bytes) + " bytes");
}

Result<Checkpoint> Checkpoint::Open(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(CheckpointEntry entry, LocateCheckpoint(path));
  auto state = std::make_unique<State>();
  state->warnings = std::move(entry.warnings);
  if (entry.is_index) {
    OCTAVO_RETURN_IF_ERROR(state->OpenShards(entry));
  } else {
    OCTAVO_RETURN_IF_ERROR(state->OpenFile(entry.folder, entry.name));
    OCTAVO_RETURN_IF_ERROR(state->IndexTensors());
  }
  OCTAVO_ASSIGN_OR_RETURN(state->assets, OpenAssets(entry.folder));
  for (const auto& [name, file] : state->assets.files) state->asset_names.push_back(name);
  for (std::string& warning : state->assets.warnings) state->warnings.push_back(std::move(warning));
  return Checkpoint(std::move(state));
}

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

const std::vector<CheckpointFile>& Checkpoint::files() const { return state_->files; }
const std::vector<SourceTensor>& Checkpoint::tensors() const { return state_->tensors; }
std::string_view Checkpoint::format() const {
  return std::holds_alternative<TorchFile>(state_->opened.front()) ? "pytorch" : "safetensors";
}
const std::string& Checkpoint::config_json() const { return state_->assets.config_json; }
const std::vector<std::string>& Checkpoint::assets() const { return state_->asset_names; }
const std::vector<std::string>& Checkpoint::warnings() const { return state_->warnings; }

const SourceTensor* Checkpoint::Find(std::string_view name) const {
  const auto it = state_->by_name.find(name);
  return it == state_->by_name.end() ? nullptr : &state_->tensors[it->second];
}

Result<std::string> Checkpoint::ReadAsset(const std::string& name) const {
  const auto it = state_->assets.files.find(name);
  if (it == state_->assets.files.end()) {
    return Status(ErrorCode::kNotFound, "the checkpoint has no " + Quote(name));
  }
  std::string text(it->second.size(), '\0');
  OCTAVO_RETURN_IF_ERROR(it->second.ReadAt(0, std::as_writable_bytes(std::span(text))));
  return text;
}

Status Checkpoint::ReadAt(uint32_t file, uint64_t offset, std::span<std::byte> out) const {
  if (file >= state_->opened.size()) {
    return Status(ErrorCode::kInvalidArgument,
                  "the checkpoint has no file " + std::to_string(file));
  }
  return std::visit([&](const auto& weights) { return weights.ReadAt(offset, out); },
                    state_->opened[file]);
}

void Checkpoint::Stream(bool drops_read) const {
  for (const WeightFile& file : state_->opened) {
    std::visit([&](const auto& weights) { weights.Stream(drops_read); }, file);
  }
}

void Checkpoint::Release(uint32_t file, uint64_t offset) const {
  if (file >= state_->opened.size()) return;
  std::visit([&](const auto& weights) { weights.Release(offset); }, state_->opened[file]);
}

Status Checkpoint::CheckUnchanged() const {
  for (const WeightFile& file : state_->opened) {
    OCTAVO_RETURN_IF_ERROR(
        std::visit([](const auto& weights) { return weights.CheckUnchanged(); }, file));
  }
  for (const auto& [name, file] : state_->assets.files) {
    OCTAVO_RETURN_IF_ERROR(file.CheckUnchanged());
  }
  return {};
}

}  // namespace octavo::format
