#include "tools/inspect_text.h"

#include <utility>
#include <vector>

#include "tools/report.h"
#include "tools/table.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr size_t kWorstModules = 5;
constexpr size_t kMaxFilesShown = 8;

std::string HeadLine(const format::Reader& reader) {
  const format::FileHeader& header = reader.header();
  return Escaped(reader.path()) +
         Format(": .8vo version %d.%d, ", header.version_major, header.version_minor) +
         FormatBytes(reader.total_bytes()) + "\n";
}

std::string FileTable(const char* title, std::vector<std::vector<std::string>> rows) {
  Table table("lrl");
  const size_t total = rows.size();
  for (size_t i = 0; i < std::min(total, kMaxFilesShown); ++i) table.AddRow(std::move(rows[i]));
  std::string text = std::string("\n") + title + "\n" + table.ToString();
  if (total > kMaxFilesShown)
    text += "  … and " + std::to_string(total - kMaxFilesShown) + " more\n";
  return text;
}

std::string KeptColumnsTable(const format::Manifest& manifest, const ModelFacts& facts) {
  Table table("lrl");
  for (size_t i = 0; i < manifest.modules.size(); ++i) {
    const uint64_t kept = facts.module_kept_columns[i];
    if (kept == 0) continue;
    table.AddRow({Escaped(manifest.modules[i].name), FormatCount(kept),
                  "of " + FormatCount(manifest.modules[i].in_features)});
  }
  return table.empty() ? "" : "\nkept columns, always in 16 bit\n" + table.ToString();
}

std::string SourceFiles(const format::Manifest& manifest) {
  std::vector<std::vector<std::string>> rows;
  for (const format::SourceFile& file : manifest.source.files) {
    const std::string sha256 = file.sha256.empty() ? "" : "  sha256 " + file.sha256;
    rows.push_back({Escaped(file.name), FormatBytes(file.bytes), "xxh3 " + file.xxh3 + sha256});
  }
  return FileTable("source files", std::move(rows));
}

std::string Assets(const format::Manifest& manifest) {
  if (manifest.assets.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const format::TensorEntry& asset : manifest.assets) {
    rows.push_back({Escaped(asset.name), FormatBytes(asset.raw_bytes()), ""});
  }
  return FileTable("embedded files", std::move(rows));
}

std::string Shards(const format::Manifest& manifest) {
  if (manifest.shards.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const format::ShardEntry& shard : manifest.shards) {
    rows.push_back({Escaped(shard.name), FormatBytes(shard.bytes), ""});
  }
  return FileTable("shards", std::move(rows));
}

}  // namespace

std::string SummaryText(const format::Reader& reader) {
  const format::Manifest& manifest = reader.manifest();
  const ModelFacts facts = FactsOf(reader);
  return HeadLine(reader) + "\n" + "architecture  " + DescribeArchitecture(manifest.source) + "\n" +
         "quantization  " + DescribeQuantization(manifest.quantization) + "\n" +
         SizeLines(facts, reader.total_bytes()) + "converter     " + Escaped(manifest.converter) +
         "\n" + ModuleTables(LinesOf(manifest, facts), Detail::kGrouped) +
         WorstModulesTable(manifest, kWorstModules) + KeptColumnsTable(manifest, facts) +
         SourceFiles(manifest) + Assets(manifest) + Shards(manifest);
}

std::string ModulesText(const format::Reader& reader) {
  return HeadLine(reader) +
         ModuleTables(LinesOf(reader.manifest(), FactsOf(reader)), Detail::kEach);
}

std::string TensorsText(const format::Reader& reader) {
  Table table("lllrrrr");
  table.AddRow({"tensor", "type", "shape", "bytes", "stored", "chunks", "offset"});
  for (const format::TensorEntry& tensor : reader.manifest().tensors) {
    const bool sharded = !reader.manifest().shards.empty();
    table.AddRow(
        {Escaped(tensor.name), std::string(DTypeName(tensor.dtype)), tensor.shape.ToString(),
         FormatCount(tensor.raw_bytes()), FormatCount(tensor.bytes),
         FormatCount(tensor.xxh3.size()),
         (sharded ? std::to_string(tensor.shard) + ":" : "") + std::to_string(tensor.offset)});
  }
  return HeadLine(reader) + "\n" + table.ToString();
}

std::string ModuleText(const format::Reader& reader, const format::Module& module,
                       uint64_t kept_columns) {
  Table table("ll");
  table.AddRow({"kind", std::string(format::Name(module.kind))});
  if (const std::string features = Features(LineOf(module, 0)); !features.empty()) {
    table.AddRow({"in -> out", features});
  }
  table.AddRow({"stored as", module.quantized ? "int8" : "it was"});
  table.AddRow({"why", Escaped(module.reason)});
  if (!module.tied_to.empty()) table.AddRow({"tied to", Escaped(module.tied_to)});
  if (!module.source_tensor.empty()) {
    std::string source = Escaped(module.source_tensor);
    if (module.source_dtype) source += ", " + std::string(DTypeName(*module.source_dtype));
    table.AddRow({"source", source + (module.transposed ? ", transposed there ([in, out])" : "")});
  }
  if (kept_columns > 0) table.AddRow({"kept columns", FormatCount(kept_columns)});
  if (module.error) {
    const format::ModuleError& error = *module.error;
    table.AddRow({"SNR", error.snr_db ? Format("%.2f dB", *error.snr_db) : "exact"});
    table.AddRow({"largest error", Format("%.6g", error.max_abs_error)});
    table.AddRow({"codes at the end", Format("%.4f %%", error.saturated_share * 100)});
    table.AddRow({"scales", Format("%.6g to %.6g", error.absmax_min, error.absmax_max)});
  }
  for (const std::string& name : TensorsOf(module)) {
    const format::TensorEntry* tensor = reader.FindTensor(name);
    if (tensor == nullptr) continue;
    table.AddRow({"tensor", Escaped(name) + ", " + std::string(DTypeName(tensor->dtype)) + " " +
                                tensor->shape.ToString() + ", " + FormatBytes(tensor->bytes)});
  }
  return Escaped(module.name) + "\n" + table.ToString();
}

Json InspectJson(const format::Reader& reader) {
  const format::FileHeader& header = reader.header();
  const format::Manifest& manifest = reader.manifest();
  const ModelFacts facts = FactsOf(reader);
  Json tensors = Json::array(), assets = Json::array(), shards = Json::array();
  for (const format::TensorEntry& tensor : manifest.tensors) tensors.push_back(TensorJson(tensor));
  for (const format::TensorEntry& asset : manifest.assets) {
    assets.push_back(
        {{"name", asset.name}, {"bytes", asset.raw_bytes()}, {"stored_bytes", asset.bytes}});
  }
  for (const format::ShardEntry& shard : manifest.shards) {
    shards.push_back(
        {{"name", shard.name}, {"bytes", shard.bytes}, {"manifest_xxh3", shard.manifest_xxh3}});
  }
  return {{"format_version", Format("%d.%d", header.version_major, header.version_minor)},
          {"required_features", header.required_features},
          {"optional_features", header.optional_features},
          {"manifest_xxh3", header.manifest_xxh3},
          {"converter", manifest.converter},
          {"source", SourceJson(manifest.source)},
          {"quantization", QuantizationJson(manifest.quantization)},
          {"summary", SummaryJson(facts, reader.total_bytes())},
          {"modules", ModulesJson(manifest, facts)},
          {"tensors", std::move(tensors)},
          {"assets", std::move(assets)},
          {"shards", std::move(shards)}};
}

}  // namespace octavo::tools
