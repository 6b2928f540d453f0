// The same content in another form: layout of the codes, compression, shards. Nothing is quantized
// again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "octavo/convert.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::quant {

struct RepackOptions {
  std::optional<format::CodeLayout> layout =
      {};  // nothing: each module keeps its own; experts are always plain
  format::Codec codec = format::Codec::kNone;
  uint64_t max_shard_bytes = 0;  // 0: one file
  bool overwrite = false;
  int32_t num_threads = 0;         // 0: one for each CPU. Never changes the bytes.
  ProgressCallback progress = {};  // bytes of the tensors, not compressed
};

struct RepackReport {
  format::Manifest manifest;       // as written (of the index if sharded)
  std::vector<std::string> files;  // base names written, the output first
  uint64_t bytes_before = 0;       // of the file, or of the index and its shards
  uint64_t bytes_after = 0;
  double seconds = 0;
};

// Writes `file` (or the model of an index) anew. Every chunk's digest is checked on the way. Codes,
// scales and all else are bit for bit the same, and the result is the file that Convert would have
// written with these options, if `file` came from it. Memory is bounded by threads times a few MiB,
// plus the manifest. The output appears as Convert's does. Errors: as Reader::Open and
// format::Writer, and kNotIntact (a digest), kInvalidArgument (the output is the file itself),
// kLimit (a row too long for a packed layout), kCancelled.
Result<RepackReport> Repack(const std::string& file, const std::string& output,
                            const RepackOptions& options);

}  // namespace octavo::quant
