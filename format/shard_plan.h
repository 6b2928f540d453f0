// Names of shards, and how much a bundle of tensors adds to one (docs/format.md, section 9).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "octavo/manifest.h"

namespace octavo::format {

// "dir/model.8vo" -> "model"; a name without ".8vo" stays.
std::string StemOf(const std::string& path);
// STEM-DDDDDDDD-IIIII-of-NNNNN.8vo; the digest is of all shards' manifest digests (32 hex digits each, in order).
std::string ShardName(const std::string& stem, std::span<const std::string> manifest_xxh3,
                      size_t shard_idx);

// Upper bounds for planning. What alignment and the manifest take for a bundle of `raw_bytes` besides the payload:
uint64_t BundleOverhead(uint64_t raw_bytes);
// … and what the manifest takes for a tensor and its part of a module.
uint64_t ManifestBytes(const TensorEntry& tensor);

}  // namespace octavo::format
