// Which tensors an exported folder has, in which of its files, and what stands in each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/export.h"
#include "octavo/reader.h"
#include "octavo/safetensors.h"

namespace octavo::quant {

enum class Content {
  kStored,     // a tensor of the file as it is
  kCodes,      // [out_features, in_features]
  kWeights,    // dequantized, in the source's orientation
  kSteps,      // scales as multipliers of the codes, [out_features, 1]
  kRowFormat,  // bitsandbytes' weight_format: 0, codes row by row
};

struct ExportTensor {
  format::SafetensorsSpec spec;
  Content content = Content::kStored;
  const format::TensorEntry* entry = nullptr;  // what it is made of; kRowFormat: none
  const format::Module* module = nullptr;      // kCodes, kWeights, kSteps
  bool transposed = false;                     // kWeights: [in_features, out_features]
  uint32_t shard = 0;
  uint32_t position = 0;  // among the tensors of its shard

  uint64_t bytes() const { return *spec.shape.NumElements() * DTypeBytes(spec.dtype); }
};

struct ExportPlan {
  std::vector<ExportTensor> tensors;  // by shard and position
  uint32_t num_shards = 1;
  std::vector<std::string> int8_modules;
  std::vector<std::string> other_linears;  // loaders must leave these alone; tied heads included
  std::vector<std::string> warnings;

  uint64_t bytes() const;
};

// "model.safetensors", or "model-00002-of-00007.safetensors".
std::string ShardFileName(const ExportPlan& plan, uint32_t shard);

// `weights_dtype`: of dequantized weights whose source was not a floating type of 16 or 32 bit. The
// plan points into the reader. Errors: kRefused (no module that the format could hold in int8).
Result<ExportPlan> PlanExport(const format::Reader& reader, const ExportOptions& options,
                              DType weights_dtype);

}  // namespace octavo::quant
