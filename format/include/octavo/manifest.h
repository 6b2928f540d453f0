// What a .8vo file says about itself: plain values, one struct for each object of docs/format.md sections 5 to 9.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/dtype.h"
#include "octavo/result.h"
#include "octavo/shape.h"

namespace octavo::format {

// ---- Feature bits (docs/format.md section 4). Stored: never renumber. -------------------------------------------
inline constexpr uint64_t kFeatureZstd = 1u << 0;
inline constexpr uint64_t kFeatureIndex = 1u << 1;
inline constexpr uint64_t kFeatureFullRange = 1u << 2;
inline constexpr uint64_t kFeaturePacked = 1u << 3;
inline constexpr uint64_t kFeatureComparisonMethod = 1u << 4;
inline constexpr uint64_t kFeatureKeptColumns = 1u << 5;
inline constexpr uint64_t kKnownRequiredFeatures = (1u << 6) - 1;

// ---- Enumerations with their names in the file --------------------------------------------------------------------
enum class Method : int32_t {
  kVectorWise = 0,
  kTensorWise = 1,
  kRowWise = 2,
  kZeropointTensor = 3,
  kZeropointVector = 4,
};
enum class Compat : int32_t { kNone = 0, kPaper = 1, kBitsandbytes = 2 };
enum class Scope : int32_t { kBatch = 0, kToken = 1 };
enum class RowRule : int32_t { kInlierColumns = 0, kBelowThreshold = 1 };
enum class Activations : int32_t { kAsymmetric = 0, kSymmetric = 1 };
enum class ModuleKind : int32_t {
  kLinear = 0,
  kExperts = 1,
  kEmbedding = 2,
  kNorm = 3,
  kHead = 4,
  kConvolution = 5,
  kRouter = 6,
  kPosition = 7,
  kBuffer = 8,
  kOther = 9,
};
enum class CodeLayout : int32_t { kPlain = 0, kVnni16x4 = 1 };
enum class ScaleConvention : int32_t { kAbsmax = 0, kStep = 1 };
enum class Codec : int32_t { kNone = 0, kZstd = 1 };

// The name in the file, and back (nothing for an unknown name).
std::string_view Name(Method value);
std::string_view Name(Compat value);
std::string_view Name(Scope value);
std::string_view Name(RowRule value);
std::string_view Name(Activations value);
std::string_view Name(ModuleKind value);
std::string_view Name(CodeLayout value);
std::string_view Name(ScaleConvention value);
std::string_view Name(Codec value);
std::optional<Method> MethodFromName(std::string_view name);
std::optional<Compat> CompatFromName(std::string_view name);
std::optional<Scope> ScopeFromName(std::string_view name);
std::optional<RowRule> RowRuleFromName(std::string_view name);
std::optional<Activations> ActivationsFromName(std::string_view name);
std::optional<ModuleKind> ModuleKindFromName(std::string_view name);
std::optional<CodeLayout> CodeLayoutFromName(std::string_view name);
std::optional<ScaleConvention> ScaleConventionFromName(std::string_view name);
std::optional<Codec> CodecFromName(std::string_view name);

// ---- Values ---------------------------------------------------------------------------------------------------------
struct SourceFile {
  std::string name;       // base name
  uint64_t bytes = 0;
  std::string xxh3;       // XXH3-128, 32 hex digits
  std::string sha256;     // 64 hex digits; empty: not taken

  friend bool operator==(const SourceFile&, const SourceFile&) = default;
};

struct Source {
  std::string format = "safetensors";
  std::string model_type;     // of config.json; empty without one
  std::string architecture;   // first of config.json's "architectures"
  bool known_architecture = false;
  std::vector<SourceFile> files;

  friend bool operator==(const Source&, const Source&) = default;
};

struct Quantization {
  Method method = Method::kVectorWise;
  Compat compat = Compat::kNone;
  float threshold = 6.0f;
  Scope scope = Scope::kBatch;
  RowRule row_rule = RowRule::kInlierColumns;
  Activations activations = Activations::kAsymmetric;
  bool weights_via_fp16 = false;
  bool activations_via_fp16 = false;

  friend bool operator==(const Quantization&, const Quantization&) = default;
};

// One payload: a tensor or, with dtype kU8 and rank 1, an asset.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kU8;
  Shape shape;
  uint32_t shard = 0;            // in an index; else 0
  uint64_t offset = 0;           // in its file
  uint64_t bytes = 0;            // stored
  uint64_t chunk_rows = 1;
  uint64_t matrix_rows = 0;      // 0: chunks may cross any row
  Codec codec = Codec::kNone;
  std::vector<uint64_t> stored;  // with a codec: stored bytes of each chunk
  std::vector<uint64_t> xxh3;    // of the stored bytes of each chunk

  // Raw bytes; entries of an opened file never overflow (R17).
  uint64_t raw_bytes() const;

  friend bool operator==(const TensorEntry&, const TensorEntry&) = default;
};

struct SchemeDescriptor {
  std::string name = "int8-rows";
  std::string codes;              // tensor
  CodeLayout layout = CodeLayout::kPlain;
  bool full_range = false;        // -128 may occur
  std::string scales;             // tensor
  ScaleConvention convention = ScaleConvention::kAbsmax;
  // The type that the source had them in, where it had any: all its values are exact in F32.
  std::optional<DType> scales_source_dtype;
  std::string code_sum;           // tensor
  std::string zero_point;         // tensor; empty: none

  friend bool operator==(const SchemeDescriptor&, const SchemeDescriptor&) = default;
};

struct ModuleError {
  std::optional<double> snr_db;   // nothing: the module is exact
  double max_abs_error = 0;
  double saturated_share = 0;
  double absmax_min = 0;
  double absmax_max = 0;

  friend bool operator==(const ModuleError&, const ModuleError&) = default;
};

struct Module {
  std::string name;
  ModuleKind kind = ModuleKind::kOther;
  bool quantized = false;
  std::string reason;
  uint64_t in_features = 0;       // 0 and 0: not a linear
  uint64_t out_features = 0;
  uint64_t experts = 0;           // kind kExperts only
  std::string source_tensor;      // empty: none
  std::optional<DType> source_dtype;
  bool transposed = false;
  std::string weight;             // if not quantized
  std::string bias;
  std::vector<std::string> tensors;
  std::string tied_to;
  std::optional<SchemeDescriptor> scheme;
  std::string kept_index;         // tensors; empty: no kept columns
  std::string kept_weight;
  std::optional<ModuleError> error;

  friend bool operator==(const Module&, const Module&) = default;
};

struct ShardEntry {
  std::string name;               // base name
  uint64_t bytes = 0;
  std::string manifest_xxh3;      // 32 hex digits

  friend bool operator==(const ShardEntry&, const ShardEntry&) = default;
};

struct Manifest {
  std::string converter;
  Source source;
  Quantization quantization;
  std::vector<Module> modules;
  std::vector<TensorEntry> tensors;
  std::vector<TensorEntry> assets;
  std::vector<ShardEntry> shards;  // an index only

  // The required feature bits that this content demands (R10).
  uint64_t RequiredFeatures() const;
};

// JSON text of a manifest, the writer's canonical form: equal manifests give equal bytes.
std::string SerializeManifest(const Manifest& manifest);

// Parses and checks everything that concerns the manifest alone: R11 to R20, R25, R30 to R35, limits.
// `is_index`: whether the header's index bit is set. Errors: kInvalidFile, naming tensor or module and rule.
// Memory: proportional to the text.
Result<Manifest> ParseManifest(std::string_view json, bool is_index);

// One raw chunk of a tensor: rows [first_row, first_row + rows).
struct ChunkExtent {
  uint64_t first_row = 0;
  uint64_t rows = 0;
};
// How many chunks a tensor has, and the i-th. Requires: an entry that ParseManifest accepted, or the writer's.
uint64_t NumChunks(const TensorEntry& tensor);
ChunkExtent ChunkAt(const TensorEntry& tensor, uint64_t chunk_idx);

}  // namespace octavo::format
