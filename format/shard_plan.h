// Names of shards (docs/format.md, section 9).
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace octavo::format {

// "dir/model.8vo" -> "model"; a name without ".8vo" stays.
std::string StemOf(const std::string& path);
// STEM-DDDDDDDD-IIIII-of-NNNNN.8vo; the digest is of all shards' manifest digests (32 hex digits each, in order).
std::string ShardName(const std::string& stem, std::span<const std::string> manifest_xxh3,
                      size_t shard_idx);

}  // namespace octavo::format
