// What lies in a checkpoint's folder: the file that leads to the weights, and the small files
// beside it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "format/file.h"
#include "octavo/result.h"

namespace octavo::format {

inline constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// Where the weights of what the user named are.
struct CheckpointEntry {
  std::string folder;  // with a slash at its end; empty for the current one
  std::string name;    // of the index or the only file, in `folder`
  bool is_index = false;
  std::vector<std::string> warnings;
};

// `path`: a folder, an index or a safetensors file. Errors: kNotFound, kIo.
Result<CheckpointEntry> LocateCheckpoint(const std::string& path);

struct CheckpointAssets {
  std::map<std::string, InputFile> files;  // by base name
  std::string config_json;                 // empty: none
  std::vector<std::string> warnings;
};

// Opens config.json, tokenizer and generation files. Errors: kIo, kInvalidFile (config.json).
Result<CheckpointAssets> OpenAssets(const std::string& folder);

}  // namespace octavo::format
