#include "tools/report.h"

#include <algorithm>

#include "tools/table.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr size_t kMaxExplainedLines = 200;

std::string Arrow(uint64_t before, uint64_t after) {
  return FormatBytes(before) + " -> " + FormatBytes(after) + " (" + FormatShare(after, before) +
         ")";
}

}  // namespace

std::string DescribeQuantization(const format::Quantization& quantization) {
  std::string text = std::string(format::Name(quantization.method)) + " int8, threshold " +
                     FormatNumber(quantization.threshold) + ", scope " +
                     std::string(format::Name(quantization.scope)) + ", " +
                     std::string(format::Name(quantization.activations)) +
                     " activations, row rule " + std::string(format::Name(quantization.row_rule));
  if (quantization.compat != format::Compat::kNone) {
    text += ", as " + std::string(format::Name(quantization.compat));
  }
  if (quantization.weights_via_fp16) text += ", weights via fp16";
  if (quantization.activations_via_fp16) text += ", activations via fp16";
  return text;
}

std::string DescribeArchitecture(const format::Source& source) {
  if (source.model_type.empty()) return "no model type stated, general rules";
  std::string text = Escaped(source.model_type);
  if (!source.architecture.empty()) text += " (" + Escaped(source.architecture) + ")";
  return source.known_architecture ? text : text + ", unknown to the converter: general rules";
}

std::string SizeLines(const ModelFacts& facts, uint64_t bytes_file) {
  return "size          " + Arrow(facts.bytes_source, bytes_file) + "\n" + "int8 weights  " +
         Arrow(facts.bytes_quantized_source, facts.bytes_quantized_file) + ", " +
         FormatShare(facts.bytes_quantized_source, facts.bytes_source) + " of the source\n";
}

std::string ModuleTables(std::span<const ModuleLine> lines, Detail detail) {
  const bool each = detail == Detail::kEach ||
                    (detail == Detail::kExplained && lines.size() <= kMaxExplainedLines);
  const TableStyle style{.all = detail == Detail::kEach,
                         .numbers = detail == Detail::kExplained && !each};
  uint64_t quantized = 0, quantized_bytes = 0, bytes = 0;
  for (const ModuleLine& line : lines) {
    bytes += line.bytes;
    if (!line.quantized) continue;
    ++quantized;
    quantized_bytes += line.bytes;
  }
  const std::vector<ModuleGroup> groups =
      each ? GroupModules(lines, Grouping::kEach) : GroupForPeople(lines);
  std::string text;
  if (quantized > 0) {
    text += "\nint8: " + Plural(quantized, "module") + ", " + FormatBytes(quantized_bytes) + "\n" +
            QuantizedTable(groups, style);
  }
  if (quantized < lines.size()) {
    text += "\nas they were: " + Plural(lines.size() - quantized, "module") + ", " +
            FormatBytes(bytes - quantized_bytes) + "\n" + SkippedTable(groups, style);
  }
  return text;
}

std::vector<const format::Module*> WorstModules(const format::Manifest& manifest, size_t count) {
  std::vector<const format::Module*> measured;
  for (const format::Module& module : manifest.modules) {
    if (module.error && module.error->snr_db) measured.push_back(&module);
  }
  std::stable_sort(measured.begin(), measured.end(), [](const auto* a, const auto* b) {
    return *a->error->snr_db < *b->error->snr_db;
  });
  measured.resize(std::min(measured.size(), count));
  return measured;
}

std::string WorstModulesTable(const format::Manifest& manifest, size_t count) {
  const std::vector<const format::Module*> worst = WorstModules(manifest, count);
  if (worst.empty()) return "";
  Table table("lrrr");
  // What absmax_max is: with zero points a row's scale is the step between two codes.
  const bool is_step = manifest.quantization.method == format::Method::kZeropointTensor ||
                       manifest.quantization.method == format::Method::kZeropointVector;
  table.AddRow({"module", "SNR", "largest error", is_step ? "largest step" : "largest |w|"});
  for (const format::Module* module : worst) {
    table.AddRow({Escaped(module->name), Format("%.2f dB", *module->error->snr_db),
                  Format("%.3g", module->error->max_abs_error),
                  Format("%.3g", module->error->absmax_max)});
  }
  return "\nworst by weight error\n" + table.ToString();
}

}  // namespace octavo::tools
