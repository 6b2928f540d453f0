// The files that a Writer makes: completing one, and planning how a set takes its names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/commit_plan.h"
#include "format/file.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::format {

// Writes manifest and header (last, when all else is on disk, R3) into a file whose payloads end at
// `payload_end`. The manifest is parsed and checked as a reader would first. Errors:
// kInvalidArgument (what the content breaks), kIo.
struct FinishedFile {
  uint64_t bytes = 0;
  std::vector<std::byte> header;
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
// remove. None for anything else. Errors: kIo, if the system cannot read it.
Result<std::vector<std::string>> OwnShardsOf(const std::string& path);

// What will happen to these files, the output last, and to the old output's shards.
CommitPlan PlanCommit(const std::vector<AtomicFile*>& outputs, std::vector<std::byte> output_header,
                      std::vector<std::string> obsolete);

}  // namespace octavo::format
