// The JSON header of a safetensors file, checked as strictly as the reference implementation checks
// it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/result.h"
#include "octavo/safetensors.h"

namespace octavo::format {

// The format's own limit; files in the wild stay under 25 MB.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr uint64_t kSafetensorsLengthBytes =
    8;  // the header's length, little-endian, comes first
inline constexpr std::string_view kMetadataKey = "__metadata__";

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;  // by offset
  std::map<std::string, std::string> metadata;
};

// `json`: the header as stored, so the data begins right behind it; `file_bytes`: of the whole
// file. Requires: 8 + json.size() <= file_bytes. Errors: kInvalidFile, naming the tensor but not
// the file.
Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, uint64_t file_bytes);

}  // namespace octavo::format
