// What a repacked file has: its tensors in order, each with what happens to it, and which of them
// share a shard.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "libquant/module_job.h"
#include "octavo/reader.h"
#include "octavo/repack.h"

namespace octavo::quant {

enum class Relayout { kNone, kPack, kUnpack };

struct RepackTensor {
  const format::TensorEntry* entry = nullptr;  // in the file that is read
  TensorSpec spec;                             // in the one that is written
  Relayout relayout = Relayout::kNone;
  uint64_t in_features = 0;  // where the layout changes, of a [out_features][in_features] matrix
  uint64_t out_features = 0;
  // Bytes of the tensors that must share a shard, from this one on; nothing: they go on.
  std::optional<uint64_t> bundle_bytes = {};
};

struct RepackPlan {
  std::vector<format::Module> modules;  // with the new layouts
  std::vector<RepackTensor> tensors;
};

// Errors: kLimit (a row too long for a packed layout).
Result<RepackPlan> PlanRepack(const format::Reader& reader, const RepackOptions& options);

}  // namespace octavo::quant
