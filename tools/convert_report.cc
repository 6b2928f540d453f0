#include "tools/convert_report.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tools/report.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr size_t kWorstModules = 5;

// What a plan says of the source; the digests of its files are not known yet.
format::Source SourceOf(const quant::Plan& plan) {
  format::Source source;
  source.model_type = plan.policy.config.model_type;
  source.architecture = plan.policy.config.architecture;
  source.known_architecture = plan.policy.architecture != nullptr;
  return source;
}

ModelFacts FactsOf(const quant::Plan& plan) {
  ModelFacts facts;
  facts.bytes_source = plan.bytes_source;
  facts.quantized_modules = static_cast<uint64_t>(std::ranges::count(
      plan.policy.decisions, quant::Action::kQuantize, &quant::Decision::action));
  facts.skipped_modules = plan.policy.decisions.size() - facts.quantized_modules;
  facts.bytes_quantized_source = plan.bytes_quantized_source;
  facts.bytes_quantized_file = plan.bytes_quantized_file;
  facts.kept_columns = plan.kept_columns;
  return facts;
}

std::string HeadLines(const format::Source& source, const format::Quantization& quantization,
                      const ModelFacts& facts, uint64_t bytes_file) {
  std::string text = "architecture  " + DescribeArchitecture(source) + "\n" + "quantization  " +
                     DescribeQuantization(quantization) + "\n" + SizeLines(facts, bytes_file);
  if (facts.kept_columns > 0) text += "kept columns  " + FormatCount(facts.kept_columns) + "\n";
  return text;
}

double BytesPerSecond(const quant::ConvertReport& report) {
  return static_cast<double>(report.bytes_source) / std::max(report.seconds, 1e-3);
}

Json WorstModulesJson(const format::Manifest& manifest) {
  Json worst = Json::array();
  for (const format::Module* module : WorstModules(manifest, kWorstModules)) {
    worst.push_back({{"name", module->name},
                     {"snr_db", *module->error->snr_db},
                     {"max_abs_error", module->error->max_abs_error}});
  }
  return worst;
}

Detail DetailOf(bool explain) { return explain ? Detail::kExplained : Detail::kGrouped; }

}  // namespace

std::string PlanText(const std::string& source, const quant::Plan& plan, bool explain) {
  return Escaped(source) +
         ": what a conversion would do (nothing was written; sizes are estimates)\n\n" +
         HeadLines(SourceOf(plan), plan.quantization, FactsOf(plan), plan.bytes_file) +
         ModuleTables(LinesOf(plan), DetailOf(explain));
}

Json PlanJson(const quant::Plan& plan) {
  Json source = SourceJson(SourceOf(plan));
  for (const char* later : {"format", "files"}) source.erase(later);
  Json modules = Json::array();
  for (size_t i = 0; i < plan.policy.decisions.size(); ++i) {
    modules.push_back(DecisionJson(plan.policy.decisions[i], plan.module_bytes[i]));
  }
  return {{"dry_run", true},
          {"source", std::move(source)},
          {"quantization", QuantizationJson(plan.quantization)},
          {"summary", SummaryJson(FactsOf(plan), plan.bytes_file)},
          {"groups", GroupsJson(GroupForPeople(LinesOf(plan)))},
          {"modules", std::move(modules)},
          {"warnings", plan.warnings}};
}

std::string ReportText(const std::string& output, const quant::ConvertReport& report,
                       bool explain) {
  const format::Manifest& manifest = report.manifest;
  const ModelFacts facts = FactsOf(manifest);
  std::string text = Escaped(output) + ": written\n\n" +
                     HeadLines(manifest.source, manifest.quantization, facts, report.bytes_file) +
                     "time          " + FormatSeconds(report.seconds) + ", " +
                     FormatBytes(static_cast<uint64_t>(BytesPerSecond(report))) +
                     "/s of the source\n";
  if (report.part.count > 0) {
    text += "part          " + std::to_string(report.part.index) + " of " +
            std::to_string(report.part.count) + "; octavo join puts them together\n";
  }
  if (report.bytes_resumed > 0) {
    text += "resumed       an interrupted conversion had read " +
            FormatBytes(report.bytes_resumed) + "\n";
  }
  if (report.files.size() > 1) {
    text += "files         an index and " + Plural(report.files.size() - 1, "shard") + "\n";
  }
  return text + ModuleTables(LinesOf(manifest, facts), DetailOf(explain)) +
         WorstModulesTable(manifest, kWorstModules);
}

Json ReportJson(const std::string& output, const quant::ConvertReport& report) {
  const ModelFacts facts = FactsOf(report.manifest);
  return {{"dry_run", false},
          {"output", output},
          {"files", report.files},
          {"seconds", report.seconds},
          {"bytes_per_second", BytesPerSecond(report)},
          {"bytes_resumed", report.bytes_resumed},
          {"source", SourceJson(report.manifest.source)},
          {"quantization", QuantizationJson(report.manifest.quantization)},
          {"summary", SummaryJson(facts, report.bytes_file)},
          {"groups", GroupsJson(GroupForPeople(LinesOf(report.manifest, facts)))},
          {"worst_modules", WorstModulesJson(report.manifest)},
          {"modules", ModulesJson(report.manifest, facts)},
          {"warnings", report.warnings}};
}

}  // namespace octavo::tools
