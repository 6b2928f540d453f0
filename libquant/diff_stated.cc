#include "libquant/diff_stated.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string_view>
#include <utility>

namespace octavo::quant {
namespace {

using format::Manifest;
using format::Module;
using format::Reader;
using format::TensorEntry;

std::string Text(bool value) { return value ? "true" : "false"; }

// The shortest text that reads back equal.
template <typename Number>
std::string NumberText(Number value) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}
std::string Text(uint64_t value) { return NumberText(value); }
std::string Text(float value) { return NumberText(value); }
std::string Text(double value) { return NumberText(value); }

std::string Text(DType dtype) { return std::string(DTypeName(dtype)); }

template <typename Value>
std::string Text(const std::optional<Value>& value) {
  return value ? Text(*value) : std::string();
}

template <typename Choice>
std::string NameOf(Choice value) {
  return std::string(format::Name(value));
}

std::map<std::string, std::string> SourceFiles(const Manifest& manifest) {
  std::map<std::string, std::string> files;
  for (const format::SourceFile& file : manifest.source.files) {
    files[file.name] = Text(file.bytes) + " bytes, xxh3 " + file.xxh3 +
                       (file.sha256.empty() ? "" : ", sha256 " + file.sha256);
  }
  return files;
}

// "plain", or "plain 3, vnni16x4-1 24": what all have, or how many have what.
std::string Tally(const std::map<std::string_view, uint64_t>& counts) {
  if (counts.size() == 1) return std::string(counts.begin()->first);
  std::string text;
  for (const auto& [name, count] : counts) {
    text += (text.empty() ? "" : ", ") + std::string(name) + " " + Text(count);
  }
  return text;
}

std::string Layouts(const Manifest& manifest) {
  std::map<std::string_view, uint64_t> counts;
  for (const Module& module : manifest.modules) {
    if (module.scheme) ++counts[format::Name(module.scheme->layout)];
  }
  return Tally(counts);
}

std::string Codecs(const Manifest& manifest) {
  std::map<std::string_view, uint64_t> counts;
  for (const TensorEntry& tensor : manifest.tensors) ++counts[format::Name(tensor.codec)];
  return Tally(counts);
}

// Of the tensors that could be cut in the same way and are not, the chunks.
void CompareChunks(const Reader& a, const Reader& b, std::vector<Difference>* out) {
  uint64_t one = 0, other = 0;
  for (const TensorEntry& tensor : a.manifest().tensors) {
    const TensorEntry* found = b.FindTensor(tensor.name);
    if (found == nullptr || tensor.dtype != found->dtype || !(tensor.shape == found->shape)) {
      continue;
    }
    one += tensor.xxh3.size();
    other += found->xxh3.size();
  }
  Compare("chunks", Text(one), Text(other), out);
}

}  // namespace

std::string TensorText(const TensorEntry* tensor) {
  return tensor == nullptr ? "" : Text(tensor->dtype) + " " + tensor->shape.ToString();
}

void Compare(const std::string& what, std::string a, std::string b, std::vector<Difference>* out) {
  if (a != b) out->push_back({what, std::move(a), std::move(b)});
}

std::vector<Difference> CompareSettings(const Manifest& a, const Manifest& b) {
  std::vector<Difference> out;
  const format::Quantization& one = a.quantization;
  const format::Quantization& other = b.quantization;
  Compare("model_type", a.source.model_type, b.source.model_type, &out);
  Compare("architecture", a.source.architecture, b.source.architecture, &out);
  Compare("method", NameOf(one.method), NameOf(other.method), &out);
  Compare("compat", NameOf(one.compat), NameOf(other.compat), &out);
  Compare("threshold", Text(one.threshold), Text(other.threshold), &out);
  Compare("scope", NameOf(one.scope), NameOf(other.scope), &out);
  Compare("row_rule", NameOf(one.row_rule), NameOf(other.row_rule), &out);
  Compare("activations", NameOf(one.activations), NameOf(other.activations), &out);
  Compare("weights_via_fp16", Text(one.weights_via_fp16), Text(other.weights_via_fp16), &out);
  Compare("activations_via_fp16", Text(one.activations_via_fp16), Text(other.activations_via_fp16),
          &out);
  return out;
}

std::vector<Difference> CompareOrigin(const Manifest& a, const Manifest& b) {
  std::vector<Difference> out;
  Compare("converter", a.converter, b.converter, &out);
  Compare("source_format", a.source.format, b.source.format, &out);
  Compare("known_architecture", Text(a.source.known_architecture),
          Text(b.source.known_architecture), &out);
  std::map<std::string, std::string> one = SourceFiles(a), other = SourceFiles(b);
  for (const auto& [name, text] : one) Compare("source file " + name, text, other[name], &out);
  for (const auto& [name, text] : other) {
    if (!one.contains(name)) Compare("source file " + name, "", text, &out);
  }
  return out;
}

std::vector<Difference> CompareStorage(const Reader& a, const Reader& b) {
  std::vector<Difference> out;
  const Manifest& one = a.manifest();
  const Manifest& other = b.manifest();
  const auto version = [](const Reader& reader) {
    return std::to_string(reader.header().version_major) + "." +
           std::to_string(reader.header().version_minor);
  };
  Compare("format_version", version(a), version(b), &out);
  Compare("layout", Layouts(one), Layouts(other), &out);
  Compare("codec", Codecs(one), Codecs(other), &out);
  Compare("shards", Text(one.shards.size()), Text(other.shards.size()), &out);
  CompareChunks(a, b, &out);
  return out;
}

void CompareOrder(const Manifest& a, const Manifest& b, std::vector<Difference>* out) {
  const auto [one, other] =
      std::ranges::mismatch(a.modules, b.modules, {}, &Module::name, &Module::name);
  if (one != a.modules.end()) out->push_back({"order", one->name, other->name});
}

uint64_t NumKept(const Reader& reader, const Module& module) {
  const TensorEntry* index = reader.FindTensor(module.kept_index);
  return index == nullptr ? 0 : index->shape[0];
}

void CompareStated(const Reader& a_reader, const Reader& b_reader, ContentDifference* module) {
  const Module& a = *module->a;
  const Module& b = *module->b;
  std::vector<Difference>* out = &module->stated;
  Compare("kind", NameOf(a.kind), NameOf(b.kind), out);
  Compare("in_features", Text(a.in_features), Text(b.in_features), out);
  Compare("out_features", Text(a.out_features), Text(b.out_features), out);
  Compare("experts", Text(a.experts), Text(b.experts), out);
  Compare("tied_to", a.tied_to, b.tied_to, out);
  Compare("source_tensor", a.source_tensor, b.source_tensor, out);
  Compare("source_dtype", Text(a.source_dtype), Text(b.source_dtype), out);
  Compare("transposed", Text(a.transposed), Text(b.transposed), out);
  Compare("kept_columns", Text(NumKept(a_reader, a)), Text(NumKept(b_reader, b)), out);
  if (a.scheme && b.scheme) {
    Compare("scheme", a.scheme->name, b.scheme->name, out);
    Compare("convention", NameOf(a.scheme->convention), NameOf(b.scheme->convention), out);
    Compare("full_range", Text(a.scheme->full_range), Text(b.scheme->full_range), out);
    Compare("scales_source_dtype", Text(a.scheme->scales_source_dtype),
            Text(b.scheme->scales_source_dtype), out);
  }
  std::vector<Difference>* origin = &module->origin;
  Compare("reason", a.reason, b.reason, origin);
  const auto snr = [](const Module& of) {
    return of.error ? Text(of.error->snr_db) : std::string();
  };
  const auto max_error = [](const Module& of) {
    return of.error ? Text(of.error->max_abs_error) : std::string();
  };
  Compare("snr_db", snr(a), snr(b), origin);
  Compare("max_abs_error", max_error(a), max_error(b), origin);
}

}  // namespace octavo::quant
