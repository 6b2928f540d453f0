// The files that a Writer makes: completing one, and putting a set under its names so that the last
// rename is the commit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/file.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::format {

// Writes manifest and header (last, when all else is on disk, R3) into a file whose payloads end at
// `payload_end`. The manifest is parsed and checked as a reader would first. Errors:
// kInvalidArgument (what the content breaks), kIo.
struct FinishedFile {
  uint64_t bytes = 0;
  std::string manifest_xxh3;  // 32 hex digits
};
struct ShardPosition {
  uint32_t index = 0;
  uint32_t count = 1;
};
Result<FinishedFile> FinishFile(const AtomicFile& file, const Manifest& manifest,
                                uint64_t payload_end, ShardPosition position);

// Base names of the shards that the index `path` was written with and that still are what it says.
// An index may be hostile, renamed or a copy: a file of another name or content is not ours to
// remove. None for anything else.
std::vector<std::string> OwnShardsOf(const std::string& path);

// Renames the shards to their names (already set as final paths), then the index. On error removes
// the shards that were not there before. Errors: kAlreadyExists, kIo.
Status CommitSharded(std::vector<AtomicFile> shards, AtomicFile index, bool overwrite);

// Removes files beside `path`, as far as that goes: an old model's shards are of no use any more.
void RemoveBeside(const std::string& path, const std::vector<std::string>& names);

}  // namespace octavo::format
