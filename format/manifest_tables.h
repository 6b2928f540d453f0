// The manifest as JSON has it: one struct for each kind of object, before names become values and
// rules are checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/json_events.h"
#include "octavo/manifest.h"

namespace octavo::format {

// ---- What JSON has, object by object (docs/format.md, sections 5 to 9) ----

struct SourceJson {
  std::string format, model_type, architecture;
  bool known_architecture = false;
  std::vector<SourceFile> files;
};
struct QuantizationJson {
  std::string method, compat, scope, row_rule, activations;
  double threshold = 0;
  bool weights_via_fp16 = false, activations_via_fp16 = false;
};
struct EntryJson {
  std::string name, dtype;
  std::vector<uint64_t> shape;
  uint64_t size = 0, offset = 0, bytes = 0, chunk_rows = 1;
  std::optional<uint64_t> shard, matrix_rows;
  std::optional<std::string> codec;
  std::optional<std::vector<uint64_t>> stored;
  std::vector<uint64_t> xxh3;
};
struct CodesJson {
  std::string tensor, layout;
  uint64_t bits = 0;
  bool is_signed = false;
};
struct ScalesJson {
  std::string tensor, convention, dtype;
  uint64_t axis = 0, group_size = 0;
  std::optional<std::string> source_dtype;
};
struct SchemeJson {
  std::string name, code_sum;
  CodesJson codes;
  bool full_range = false;
  ScalesJson scales;
  std::optional<std::string> zero_point;
};
struct KeptJson {
  std::string index, weight;
};
struct ModuleJson {
  std::string name, kind, reason;
  bool quantized = false, transposed = false;
  std::optional<uint64_t> in_features, out_features, experts;
  std::optional<std::string> source_tensor, source_dtype, weight, bias, tied_to;
  std::vector<std::string> tensors;
  std::optional<SchemeJson> scheme;
  std::optional<KeptJson> kept;
  std::optional<ModuleError> error;
};

// The manifest in the making. Elements of its lists pass through `entry` and `module` one at a
// time.
struct ManifestContext {
  Manifest manifest;
  bool is_index = false;
  std::optional<std::vector<ShardEntry>> shards;
  SourceJson source;
  QuantizationJson quantization;
  EntryJson entry;
  ModuleJson module;
};

// Called by the tables: a source file's SHA-256. `target`: a SourceFile.
Status SetSha256(void* target, std::string_view text);
// A digest of `entry`, and the end of each element of a list. `target`: a ManifestContext.
Status AddDigest(void* target, std::string_view text);
Status EndTensor(void* target);
Status EndAsset(void* target);
Status EndModule(void* target);

// A whole manifest into a ManifestContext.
extern const json::Table kManifestTable;

}  // namespace octavo::format
