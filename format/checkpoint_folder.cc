#include "format/checkpoint_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "format/json_walk.h"
#include "format/layout.h"
#include "format/quote.h"
#include "octavo/checkpoint.h"

namespace octavo::format {
namespace {

constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kTorchName = "pytorch_model.bin";
constexpr std::string_view kTorchIndexName = "pytorch_model.bin.index.json";
constexpr std::string_view kConfigName = "config.json";
constexpr std::array<std::string_view, 15> kAssetNames = {"added_tokens.json",
                                                          "chat_template.jinja",
                                                          "chat_template.json",
                                                          kConfigName,
                                                          "generation_config.json",
                                                          "merges.txt",
                                                          "preprocessor_config.json",
                                                          "sentencepiece.bpe.model",
                                                          "special_tokens_map.json",
                                                          "spiece.model",
                                                          "tokenizer.json",
                                                          "tokenizer.model",
                                                          "tokenizer_config.json",
                                                          "vocab.json",
                                                          "vocab.txt"};

// Whether the folder has an entry of that name, a dangling symbolic link included.
bool HasEntry(const std::string& folder, std::string_view name) {
  struct stat info;
  return lstat((folder + std::string(name)).c_str(), &info) == 0;
}

bool IsFile(const std::string& folder, std::string_view name) {
  struct stat info;
  return stat((folder + std::string(name)).c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

// Names in the folder, sorted; empty if it cannot be read.
std::vector<std::string> ListFolder(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// "a, b, c and 12 more"
std::string JoinSome(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += (i == 0 ? "" : ", ") + Quote(names[i]);
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

bool IsPickle(std::string_view name) {
  return name.starts_with("pytorch_model") || name.ends_with(".pt") || name.ends_with(".pth");
}

// Says what a folder without weights has instead.
Status NoWeights(const std::string& folder) {
  std::vector<std::string> pickles;
  std::vector<std::string> others;
  for (const std::string& name : ListFolder(folder)) {
    if (IsPickle(name)) pickles.push_back(name);
    if (name.ends_with(".safetensors")) others.push_back(name);
  }
  std::string what = folder + ": no weights; looked for " + std::string(kSingleName) + ", " +
                     std::string(kTorchName) + " and their indexes";
  if (HasEntry(folder, "adapter_config.json")) {
    what +=
        "; it is an adapter, which must be merged into its model first (PEFT: "
        "merge_and_unload)";
  } else if (HasEntry(folder, "snapshots")) {
    what += "; it is a cache of Hugging Face: name the folder in its snapshots/";
  } else if (!others.empty()) {
    what += "; to read one of its other safetensors files, name it: " + JoinSome(others);
  } else if (!pickles.empty()) {
    what += "; to read one of its other files, name it: " + JoinSome(pickles);
  }
  return Status(ErrorCode::kNotFound, what);
}

Result<CheckpointEntry> LocateInFolder(std::string folder) {
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  if (folder != "/") folder += '/';
  // safetensors first: what a folder has besides is the same once more.
  constexpr std::array kNames = {kSingleName, kIndexName, kTorchName, kTorchIndexName};
  CheckpointEntry entry{folder, {}, false, {}};
  for (const std::string_view name : kNames) {
    if (!HasEntry(folder, name)) continue;
    if (entry.name.empty()) {
      entry.name = name;
      entry.is_index = name == kIndexName || name == kTorchIndexName;
    } else if (name == kIndexName || (name == kTorchIndexName && entry.name == kTorchName)) {
      entry.warnings.push_back(folder + ": " + entry.name + " is read, " + std::string(name) +
                               " beside it is not");
    }
  }
  if (entry.name.empty()) return NoWeights(folder);
  return entry;
}

// "model-00002-of-00007.safetensors"
bool LooksLikeShard(std::string_view name) {
  constexpr std::string_view kPattern = "-#####-of-#####.safetensors";
  if (name.size() < kPattern.size()) return false;
  name.remove_prefix(name.size() - kPattern.size());
  return std::equal(name.begin(), name.end(), kPattern.begin(), [](char c, char pattern) {
    return pattern == '#' ? c >= '0' && c <= '9' : c == pattern;
  });
}

// config.json's text, checked to be one JSON object.
Result<std::string> ReadConfig(const InputFile& file) {
  if (file.size() > kMaxConfigBytes) {
    return Status(ErrorCode::kInvalidFile, file.path() + ": it has " + std::to_string(file.size()) +
                                               " bytes; a configuration has at most 16 MiB");
  }
  std::string text(file.size(), '\0');
  OCTAVO_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(text))));
  if (const Status status = JsonWalker().Walk(text); !status.ok()) {
    return status.WithContext(file.path());
  }
  return text;
}

}  // namespace

bool IsAssetName(std::string_view file_name) {
  return std::ranges::find(kAssetNames, file_name) != kAssetNames.end();
}

bool IsModelFileName(std::string_view file_name) {
  return file_name == kSingleName || file_name == kIndexName || IsAssetName(file_name) ||
         (file_name.starts_with("model-") && LooksLikeShard(file_name));
}

Result<CheckpointEntry> LocateCheckpoint(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "cannot open", path);
  if (S_ISDIR(info.st_mode)) return LocateInFolder(path);
  const size_t name_start = path.find_last_of('/') + 1;
  CheckpointEntry entry{path.substr(0, name_start), path.substr(name_start), false, {}};
  entry.is_index = entry.name.ends_with(".index.json");
  if (LooksLikeShard(entry.name)) {
    entry.warnings.push_back(path + " is one shard of a model; name its folder to read all of it");
  }
  return entry;
}

Result<CheckpointAssets> OpenAssets(const std::string& folder) {
  CheckpointAssets assets;
  for (const std::string_view name : kAssetNames) {
    if (!HasEntry(folder, name)) continue;
    Result<InputFile> file = InputFile::Open(folder + std::string(name));
    // Without its configuration a model would be taken for one of another kind. The rest can be
    // missed where it is no file; a file that cannot be opened must not be lost unnoticed.
    if (!file.ok() && (name == kConfigName || IsFile(folder, name))) return file.status();
    if (!file.ok()) {
      assets.warnings.push_back(file.status().message() + "; it is left out");
    } else if (file->size() > kMaxAssetBytes) {
      assets.warnings.push_back(file->path() + " is larger than 1 GiB; it is left out");
    } else {
      assets.files.emplace(name, std::move(*file));
    }
  }
  if (const auto it = assets.files.find(std::string(kConfigName)); it != assets.files.end()) {
    OCTAVO_ASSIGN_OR_RETURN(assets.config_json, ReadConfig(it->second));
  }
  return assets;
}

}  // namespace octavo::format
