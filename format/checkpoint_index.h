// A "model.safetensors.index.json": which shard holds which tensor.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "octavo/result.h"

namespace octavo::format {

struct CheckpointIndex {
  std::map<std::string, std::string> weight_map;  // tensor to shard
  std::optional<double> total_size;               // some writers store it as a fraction

  // Each once. The views live as long as the index.
  std::set<std::string_view> shards() const;
};

// Shard names are base names that end in ".safetensors". Errors: kInvalidFile, without the index's
// own path.
// `is_torch`: its shards are torch.save's ".bin" files, else safetensors.
Result<CheckpointIndex> ParseCheckpointIndex(std::string_view json, bool is_torch);

}  // namespace octavo::format
