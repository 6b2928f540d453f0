// From a .8vo file to the folders that other programs read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/convert.h"
#include "octavo/result.h"

namespace octavo::quant {

enum class ExportFormat : int32_t {
  kSafetensors = 0,   // every weight dequantized, in the source's type, names and orientation
  kTransformers = 1,  // all of the file but the sums of codes, for octavo.transformers
  kBitsandbytes = 2,  // weight, SCB and weight_format, as transformers' save_pretrained has them
  kCompressedTensors = 3,  // int-quantized: int8 weight and weight_scale, per channel
};
// "safetensors", "transformers", "bitsandbytes", "compressed-tensors".
std::string_view Name(ExportFormat value);

struct ExportOptions {
  ExportFormat format = ExportFormat::kSafetensors;
  uint64_t max_shard_bytes = 0;  // 0: one model.safetensors; else shards and an index
  // Replace a folder that holds nothing but such a model.
  bool overwrite = false;
  int32_t num_threads = 0;         // 0: one for each CPU. Never changes the bytes.
  ProgressCallback progress = {};  // bytes of the output
};

struct ExportReport {
  std::vector<std::string> files;  // base names, the weights first
  uint64_t bytes_file = 0;         // of the .8vo file, or of the index and its shards
  uint64_t bytes_weights = 0;      // of the folder's safetensors files
  uint64_t int8_modules = 0;       // written as codes
  double seconds = 0;
  std::vector<std::string> warnings;  // what the format cannot hold
};

// Writes `folder`: model.safetensors (or shards and model.safetensors.index.json), the embedded
// files, and config.json with the quantization_config that the format's loaders expect. Codes and
// scales are taken over bit for bit; where a format cannot hold a module in int8 it is written in
// 16 bit, with a warning. Every chunk's digest is checked on the way. Memory is bounded by threads
// times a few MiB. The folder appears under its name only when it is complete and on disk. Errors:
// as Reader::Open and format::OutputFolder, and kNotIntact (a digest), kRefused (nothing that the
// format could hold in int8; no config.json), kIo (also: too little room), kCancelled.
Result<ExportReport> Export(const std::string& file, const std::string& folder,
                            const ExportOptions& options);

}  // namespace octavo::quant
