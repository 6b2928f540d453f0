// The canonical JSON of a manifest: keys in the order of docs/format.md, no white space, shortest
// numbers.
#include <charconv>
#include <concepts>

#include "format/digest.h"
#include "octavo/manifest.h"

namespace octavo::format {
namespace {

// Appends to one string; commas come by themselves.
class JsonText {
 public:
  std::string Take() && { return std::move(text_); }

  void Open(char bracket) {
    Separate();
    text_ += bracket;
    is_first_ = true;
  }
  void Close(char bracket) {
    text_ += bracket;
    is_first_ = false;
  }
  void Key(std::string_view key) {
    Value(key);
    text_ += ':';
    is_first_ = true;
  }
  void Value(std::string_view value);
  void Value(const std::string& value) { Value(std::string_view(value)); }
  void Value(bool value) { Raw(value ? "true" : "false"); }
  void Value(uint64_t value) { Raw(std::to_string(value)); }
  void Value(double value);
  void Null() { Raw("null"); }

  template <typename T>
  void Pair(std::string_view key, const T& value) {
    Key(key);
    Value(value);
  }
  void PairUnlessEmpty(std::string_view key, const std::string& value) {
    if (!value.empty()) Pair(key, value);
  }
  // An array, each element written by `write`.
  template <typename List, typename Write>
  void Array(std::string_view key, const List& list, const Write& write) {
    Key(key);
    Open('[');
    for (const auto& element : list) write(element);
    Close(']');
  }

 private:
  void Separate() {
    if (!is_first_) text_ += ',';
    is_first_ = false;
  }
  void Raw(std::string_view text) {
    Separate();
    text_ += text;
  }

  std::string text_;
  bool is_first_ = true;
};

void JsonText::Value(std::string_view value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetter = "\"\\bfnrt";
  Separate();
  text_ += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (const size_t at = kShort.find(c); at != std::string_view::npos) {
      text_ += {'\\', kLetter[at]};
    } else if (byte < 0x20) {
      text_ += {'\\', 'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      text_ += c;
    }
  }
  text_ += '"';
}

// The shortest form that reads back equal; a writer never has NaN or infinity, which JSON cannot
// say.
void JsonText::Value(double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  Raw({digits, end});
}

void Write(JsonText& json, const Source& source) {
  json.Open('{');
  json.Pair("format", source.format);
  json.Pair("model_type", source.model_type);
  json.Pair("architecture", source.architecture);
  json.Pair("known_architecture", source.known_architecture);
  json.Array("files", source.files, [&json](const SourceFile& file) {
    json.Open('{');
    json.Pair("name", file.name);
    json.Pair("bytes", file.bytes);
    json.Pair("xxh3", file.xxh3);
    json.PairUnlessEmpty("sha256", file.sha256);
    json.Close('}');
  });
  json.Close('}');
}

void Write(JsonText& json, const Quantization& quantization) {
  json.Open('{');
  json.Pair("method", Name(quantization.method));
  json.Pair("compat", Name(quantization.compat));
  json.Pair("threshold", static_cast<double>(quantization.threshold));
  json.Pair("scope", Name(quantization.scope));
  json.Pair("row_rule", Name(quantization.row_rule));
  json.Pair("activations", Name(quantization.activations));
  json.Pair("weights_via_fp16", quantization.weights_via_fp16);
  json.Pair("activations_via_fp16", quantization.activations_via_fp16);
  json.Close('}');
}

void Write(JsonText& json, const SchemeDescriptor& scheme) {
  json.Open('{');
  json.Pair("name", scheme.name);
  json.Key("codes");
  json.Open('{');
  json.Pair("tensor", scheme.codes);
  json.Pair("bits", uint64_t{8});
  json.Pair("signed", true);
  json.Pair("layout", Name(scheme.layout));
  json.Close('}');
  if (scheme.full_range) json.Pair("full_range", true);
  json.Key("scales");
  json.Open('{');
  json.Pair("tensor", scheme.scales);
  json.Pair("axis", uint64_t{0});
  json.Pair("group_size", uint64_t{0});
  json.Pair("convention", Name(scheme.convention));
  json.Pair("dtype", std::string_view("F32"));
  if (scheme.scales_source_dtype) json.Pair("source_dtype", DTypeName(*scheme.scales_source_dtype));
  json.Close('}');
  json.Pair("code_sum", scheme.code_sum);
  json.PairUnlessEmpty("zero_point", scheme.zero_point);
  json.Close('}');
}

void Write(JsonText& json, const ModuleError& error) {
  json.Open('{');
  json.Key("snr_db");
  error.snr_db ? json.Value(*error.snr_db) : json.Null();
  json.Pair("max_abs_error", error.max_abs_error);
  json.Pair("saturated_share", error.saturated_share);
  json.Pair("absmax_min", error.absmax_min);
  json.Pair("absmax_max", error.absmax_max);
  json.Close('}');
}

void Write(JsonText& json, const Module& module) {
  json.Open('{');
  json.Pair("name", module.name);
  json.Pair("kind", Name(module.kind));
  json.Pair("quantized", module.quantized);
  json.Pair("reason", module.reason);
  if (module.quantized || module.in_features != 0 || module.out_features != 0) {
    json.Pair("in_features", module.in_features);
    json.Pair("out_features", module.out_features);
  }
  if (module.kind == ModuleKind::kExperts) json.Pair("experts", module.experts);
  json.PairUnlessEmpty("source_tensor", module.source_tensor);
  if (module.source_dtype) json.Pair("source_dtype", DTypeName(*module.source_dtype));
  json.Pair("transposed", module.transposed);
  json.PairUnlessEmpty("weight", module.weight);
  json.PairUnlessEmpty("bias", module.bias);
  if (!module.tensors.empty()) {
    json.Array("tensors", module.tensors, [&json](const std::string& name) { json.Value(name); });
  }
  json.PairUnlessEmpty("tied_to", module.tied_to);
  if (module.scheme) {
    json.Key("scheme");
    Write(json, *module.scheme);
  }
  if (!module.kept_index.empty()) {
    json.Key("kept");
    json.Open('{');
    json.Pair("index", module.kept_index);
    json.Pair("weight", module.kept_weight);
    json.Close('}');
  }
  if (module.error) {
    json.Key("error");
    Write(json, *module.error);
  }
  json.Close('}');
}

void Write(JsonText& json, const TensorEntry& entry, bool is_asset, bool is_index) {
  const auto count = [&json](uint64_t value) { json.Value(value); };
  json.Open('{');
  json.Pair("name", entry.name);
  if (is_asset) {
    json.Pair("size", entry.raw_bytes());
  } else {
    json.Pair("dtype", DTypeName(entry.dtype));
    json.Array("shape", entry.shape.extents(), count);
  }
  if (is_index) json.Pair("shard", uint64_t{entry.shard});
  json.Pair("offset", entry.offset);
  json.Pair("bytes", entry.bytes);
  if (!is_asset) json.Pair("chunk_rows", entry.chunk_rows);
  if (entry.matrix_rows != 0) json.Pair("matrix_rows", entry.matrix_rows);
  if (entry.codec != Codec::kNone) {
    json.Pair("codec", Name(entry.codec));
    json.Array("stored", entry.stored, count);
  }
  json.Array("xxh3", entry.xxh3, [&json](uint64_t digest) { json.Value(Hex(digest)); });
  json.Close('}');
}

}  // namespace

std::string SerializeManifest(const Manifest& manifest) {
  const bool is_index = !manifest.shards.empty();
  JsonText json;
  json.Open('{');
  json.Pair("converter", manifest.converter);
  json.Key("source");
  Write(json, manifest.source);
  json.Key("quantization");
  Write(json, manifest.quantization);
  json.Array("modules", manifest.modules, [&json](const Module& module) { Write(json, module); });
  json.Array("tensors", manifest.tensors,
             [&](const TensorEntry& tensor) { Write(json, tensor, false, is_index); });
  json.Array("assets", manifest.assets,
             [&](const TensorEntry& asset) { Write(json, asset, true, is_index); });
  if (is_index) {
    json.Array("shards", manifest.shards, [&json](const ShardEntry& shard) {
      json.Open('{');
      json.Pair("name", shard.name);
      json.Pair("bytes", shard.bytes);
      json.Pair("manifest_xxh3", shard.manifest_xxh3);
      json.Close('}');
    });
  }
  json.Close('}');
  return std::move(json).Take();
}

}  // namespace octavo::format
