// A manifest's JSON into values, each object checked as it ends.
#include <cmath>
#include <limits>

#include "format/digest.h"
#include "format/large_pages.h"
#include "format/layout.h"
#include "format/manifest_rules.h"
#include "format/manifest_tables.h"
#include "format/quote.h"
#include "octavo/manifest.h"

namespace octavo::format {
namespace {

constexpr size_t kTensorTextBytes = 400;
constexpr size_t kModuleTextBytes = 1200;  // with its tensors

Status TooMany(std::string_view what) {
  return Status(ErrorCode::kInvalidFile,
                "manifest: more than 4,194,304 " + std::string(what) + " (section 10)");
}

// What tensors and assets have in common.
Status FillEntry(ManifestContext& context, std::string_view noun, TensorEntry* entry) {
  EntryJson& from = context.entry;
  if (from.codec) {
    const std::optional<Codec> codec = CodecFromName(*from.codec);
    if (!codec || *codec == Codec::kNone) {
      return Broken(noun, from.name, "unknown codec " + Quote(*from.codec), "R18");
    }
    entry->codec = *codec;
    if (!from.stored) return Broken(noun, from.name, "\"codec\" without \"stored\"", "R18");
  } else if (from.stored) {
    return Broken(noun, from.name, "\"stored\" without \"codec\"", "R18");
  }
  if (context.is_index != from.shard.has_value()) {
    return Broken(
        noun, from.name,
        context.is_index ? "there is no \"shard\"" : "a \"shard\", but the file is no index",
        "R13");
  }
  if (from.shard.value_or(0) >= kMaxEntries) {
    return Broken(noun, from.name, "there is no such shard", "R37");
  }
  entry->name = std::move(from.name);
  entry->shard = static_cast<uint32_t>(from.shard.value_or(0));
  entry->offset = from.offset;
  entry->bytes = from.bytes;
  entry->chunk_rows = from.chunk_rows;
  if (from.stored) entry->stored = std::move(*from.stored);
  entry->xxh3 = std::move(from.xxh3);
  return CheckEntry(*entry, noun == "asset");
}

Status ConvertScheme(const ModuleJson& from, SchemeDescriptor* scheme) {
  const SchemeJson& json = *from.scheme;
  const auto broken = [&](const std::string& what) {
    return Broken("module", from.name, what, "R30");
  };
  if (json.name != "int8-rows") return broken("unknown scheme " + Quote(json.name));
  const std::optional<CodeLayout> layout = CodeLayoutFromName(json.codes.layout);
  if (!layout) return broken("unknown layout " + Quote(json.codes.layout));
  const auto convention = ScaleConventionFromName(json.scales.convention);
  if (!convention) return broken("unknown convention " + Quote(json.scales.convention));
  if (json.codes.bits != 8 || !json.codes.is_signed || json.scales.axis != 0 ||
      json.scales.group_size != 0 || json.scales.dtype != "F32") {
    return broken("bits, signed, axis, group_size and dtype are not those of int8-rows");
  }
  if (json.zero_point == "") return broken("zero_point names no tensor");
  *scheme = {.name = json.name,
             .codes = json.codes.tensor,
             .layout = *layout,
             .full_range = json.full_range,
             .scales = json.scales.tensor,
             .convention = *convention,
             .scales_source_dtype =
                 json.scales.source_dtype ? DTypeFromName(*json.scales.source_dtype) : std::nullopt,
             .code_sum = json.code_sum,
             .zero_point = json.zero_point.value_or("")};
  return {};
}

// R13 and R30: what must be there together, and names that must not be empty.
Status CheckPresence(const ModuleJson& from, ModuleKind kind) {
  const auto broken = [&](const std::string& what, std::string_view rule) {
    return Broken("module", from.name, what, rule);
  };
  if (from.quantized != from.scheme.has_value()) {
    return broken(from.quantized ? "quantized without a scheme" : "a scheme, but not quantized",
                  "R30");
  }
  if (from.quantized && (!from.in_features || !from.out_features)) {
    return broken("quantized without in_features and out_features", "R30");
  }
  if (from.quantized != from.error.has_value()) {
    return broken(from.quantized ? "there is no \"error\"" : "an \"error\", but not quantized",
                  "R13");
  }
  if ((kind == ModuleKind::kExperts) != from.experts.has_value()) {
    return broken("\"experts\" belongs to kind experts", "R13");
  }
  if (from.weight == "" || from.bias == "") return broken("names an empty tensor", "R30");
  if (from.kept && (from.kept->index.empty() || from.kept->weight.empty())) {
    return broken("names an empty tensor", "R30");
  }
  if (from.tied_to == "") return broken("tied to nothing", "R32");
  return {};
}

Status BadValue(std::string_view key, std::string_view value) {
  return Status(ErrorCode::kInvalidFile,
                "quantization: unknown " + std::string(key) + " " + Quote(value) + " (R16)");
}

Status ConvertQuantization(const QuantizationJson& from, Quantization* to) {
  const auto method = MethodFromName(from.method);
  if (!method) return BadValue("method", from.method);
  const auto compat = CompatFromName(from.compat);
  if (!compat) return BadValue("compat", from.compat);
  const auto scope = ScopeFromName(from.scope);
  if (!scope) return BadValue("scope", from.scope);
  const auto row_rule = RowRuleFromName(from.row_rule);
  if (!row_rule) return BadValue("row_rule", from.row_rule);
  const auto activations = ActivationsFromName(from.activations);
  if (!activations) return BadValue("activations", from.activations);
  const bool in_range = from.threshold >= 0 && from.threshold <= std::numeric_limits<float>::max();
  const float threshold = in_range ? static_cast<float>(from.threshold) : 0.0f;
  if (!in_range || std::signbit(from.threshold) ||
      static_cast<double>(threshold) != from.threshold) {
    return Status(ErrorCode::kInvalidFile,
                  "quantization: threshold is not a finite float32 from 0 on (R16)");
  }
  const bool spans_rows = method == Method::kTensorWise || method == Method::kZeropointTensor;
  if (spans_rows && scope == Scope::kToken) {
    return Status(ErrorCode::kInvalidFile,
                  "quantization: method " + from.method + " does not come with scope token (R16)");
  }
  *to = {.method = *method,
         .compat = *compat,
         .threshold = threshold,
         .scope = *scope,
         .row_rule = *row_rule,
         .activations = *activations,
         .weights_via_fp16 = from.weights_via_fp16,
         .activations_via_fp16 = from.activations_via_fp16};
  return {};
}

Status ConvertSource(SourceJson& from, Source* to) {
  for (const SourceFile& file : from.files) {
    if (IsBaseName(file.name) && IsHex(file.xxh3, 32)) continue;
    return Status(ErrorCode::kInvalidFile,
                  "source: file " + Quote(file.name) + ": not a base name and 32 hex digits (R13)");
  }
  *to = {.format = std::move(from.format),
         .model_type = std::move(from.model_type),
         .architecture = std::move(from.architecture),
         .known_architecture = from.known_architecture,
         .files = std::move(from.files)};
  return {};
}

}  // namespace

Status SetSha256(void* target, std::string_view text) {
  if (!IsHex(text, 64)) {
    return Status(ErrorCode::kInvalidFile,
                  "source: a sha256 is not 64 lower-case hex digits (R13)");
  }
  static_cast<SourceFile*>(target)->sha256 = text;
  return {};
}

Status AddDigest(void* target, std::string_view text) {
  EntryJson& entry = *static_cast<EntryJson*>(target);
  const std::optional<uint64_t> digest = DigestFromHex(text);
  if (!digest) {
    return Broken("tensor", entry.name,
                  "digest " + Quote(text) + " is not 16 lower-case hex digits", "R19");
  }
  entry.xxh3.push_back(*digest);
  return {};
}

Status EndTensor(void* target) {
  ManifestContext& context = *static_cast<ManifestContext*>(target);
  const EntryJson& from = context.entry;
  TensorEntry entry;
  const std::optional<DType> dtype = DTypeFromName(from.dtype);
  if (!dtype) return Broken("tensor", from.name, "unknown dtype " + Quote(from.dtype), "R17");
  const std::optional<Shape> shape = Shape::Make(from.shape);
  if (!shape) {
    return Broken("tensor", from.name, std::to_string(from.shape.size()) + " dimensions, at most 8",
                  "R17");
  }
  if (from.matrix_rows == 0u) return Broken("tensor", from.name, "matrix_rows is 0", "R19");
  entry.dtype = *dtype;
  entry.shape = *shape;
  entry.matrix_rows = from.matrix_rows.value_or(0);
  OCTAVO_RETURN_IF_ERROR(FillEntry(context, "tensor", &entry));
  if (context.manifest.tensors.size() >= kMaxEntries) return TooMany("tensors");
  context.manifest.tensors.push_back(std::move(entry));
  return {};
}

Status EndAsset(void* target) {
  ManifestContext& context = *static_cast<ManifestContext*>(target);
  TensorEntry entry;
  entry.shape = Shape{context.entry.size};
  OCTAVO_RETURN_IF_ERROR(FillEntry(context, "asset", &entry));
  if (context.manifest.assets.size() >= kMaxEntries) return TooMany("assets");
  context.manifest.assets.push_back(std::move(entry));
  return {};
}

Status EndModule(void* target) {
  ManifestContext& context = *static_cast<ManifestContext*>(target);
  ModuleJson& from = context.module;
  Module module;
  module.kind = ModuleKindFromName(from.kind).value_or(ModuleKind::kOther);  // R31
  OCTAVO_RETURN_IF_ERROR(CheckPresence(from, module.kind));
  if (from.scheme) OCTAVO_RETURN_IF_ERROR(ConvertScheme(from, &module.scheme.emplace()));
  module.name = std::move(from.name);
  module.quantized = from.quantized;
  module.reason = std::move(from.reason);
  module.in_features = from.in_features.value_or(0);
  module.out_features = from.out_features.value_or(0);
  module.experts = from.experts.value_or(0);
  module.source_tensor = std::move(from.source_tensor).value_or("");
  if (from.source_dtype) module.source_dtype = DTypeFromName(*from.source_dtype);
  module.transposed = from.transposed;
  module.weight = std::move(from.weight).value_or("");
  module.bias = std::move(from.bias).value_or("");
  module.tensors = std::move(from.tensors);
  module.tied_to = std::move(from.tied_to).value_or("");
  if (from.kept) {
    module.kept_index = std::move(from.kept->index);
    module.kept_weight = std::move(from.kept->weight);
  }
  module.error = from.error;
  if (context.manifest.modules.size() >= kMaxEntries) return TooMany("modules");
  context.manifest.modules.push_back(std::move(module));
  return {};
}

Result<Manifest> ParseManifest(std::string_view json, bool is_index) {
  if (json.empty() || json.front() != '{' || json.back() != '}') {
    return Status(ErrorCode::kInvalidFile, "manifest: not one JSON object and nothing else (R11)");
  }
  ManifestContext context;
  context.is_index = is_index;
  // Fewer bytes than most take: lists do not grow in steps, with a copy and new pages for each.
  ReserveInLargePages(json.size() / kTensorTextBytes, &context.manifest.tensors);
  ReserveInLargePages(json.size() / kModuleTextBytes, &context.manifest.modules);
  const json::Options options = {
      .max_depth = kMaxDepth, .max_string_bytes = kMaxStringBytes, .name_rules = true};
  const json::Slot root = json::Slot::Object(&context, &kManifestTable);
  if (const Status status = json::Parse(json, root, options); !status.ok()) {
    return status.WithContext("manifest");
  }
  Manifest& manifest = context.manifest;
  OCTAVO_RETURN_IF_ERROR(ConvertQuantization(context.quantization, &manifest.quantization));
  OCTAVO_RETURN_IF_ERROR(ConvertSource(context.source, &manifest.source));
  if (is_index != context.shards.has_value()) {
    return Status(ErrorCode::kInvalidFile,
                  is_index ? "manifest: there is no \"shards\", but the file is an index (R13)"
                           : "manifest: \"shards\", but the file is no index (R10)");
  }
  if (is_index) {
    manifest.shards = std::move(*context.shards);
    OCTAVO_RETURN_IF_ERROR(CheckShards(manifest));
  }
  OCTAVO_RETURN_IF_ERROR(CheckModules(manifest));
  return std::move(context.manifest);
}

}  // namespace octavo::format
