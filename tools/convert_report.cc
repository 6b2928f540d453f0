#include "tools/convert_report.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tools/report.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr size_t kWorstModules = 3;

}  // namespace

std::string PlanText(const std::string& source, const quant::Plan& plan, bool explain) {
  std::vector<ModuleLine> lines;
  for (const quant::Decision& decision : plan.policy.decisions) lines.push_back(LineOf(decision));
  const std::string architecture = plan.policy.architecture == nullptr
                                       ? "not known: general rules"
                                       : std::string(plan.policy.architecture->name);
  return Escaped(source) + ": what a conversion would do (nothing was written)\n\n" +
         "architecture  " + architecture + "\n" + "quantization  " +
         DescribeQuantization(plan.quantization) + "\n" + "size          " +
         FormatBytes(plan.bytes_source) + " -> about " + FormatBytes(plan.bytes_file) + " (" +
         FormatShare(plan.bytes_file, plan.bytes_source) + ")\n" + ModuleTables(lines, explain);
}

Json PlanJson(const quant::Plan& plan) {
  Json modules = Json::array();
  uint64_t quantized = 0;
  for (const quant::Decision& decision : plan.policy.decisions) {
    modules.push_back(DecisionJson(decision));
    quantized += decision.action == quant::Action::kQuantize;
  }
  return {{"dry_run", true},
          {"quantization", QuantizationJson(plan.quantization)},
          {"summary",
           {{"bytes_source", plan.bytes_source},
            {"bytes_file", plan.bytes_file},
            {"quantized_modules", quantized},
            {"skipped_modules", plan.policy.decisions.size() - quantized}}},
          {"modules", std::move(modules)},
          {"warnings", plan.warnings}};
}

std::string ReportText(const std::string& output, const quant::ConvertReport& report,
                       bool explain) {
  const format::Manifest& manifest = report.manifest;
  const ModelFacts facts = FactsOf(manifest);
  const double rate = static_cast<double>(report.bytes_source) / std::max(report.seconds, 1e-3);
  std::string text = Escaped(output) + ": written in " + FormatSeconds(report.seconds) + " (" +
                     FormatBytes(static_cast<uint64_t>(rate)) + "/s)\n\n" + "architecture  " +
                     DescribeArchitecture(manifest.source) + "\n" + "quantization  " +
                     DescribeQuantization(manifest.quantization) + "\n" +
                     SizeLines(facts, report.bytes_file);
  if (report.part.count > 0) {
    text += "part          " + std::to_string(report.part.index) + " of " +
            std::to_string(report.part.count) + "; octavo join puts them together\n";
  }
  if (report.bytes_resumed > 0) {
    text += "resumed       an interrupted conversion had read " +
            FormatBytes(report.bytes_resumed) + "\n";
  }
  if (facts.kept_columns > 0) text += "kept columns  " + FormatCount(facts.kept_columns) + "\n";
  if (report.files.size() > 1) {
    text += "files         an index and " + Plural(report.files.size() - 1, "shard") + "\n";
  }
  return text + ModuleTables(LinesOf(manifest), explain) + WorstModules(manifest, kWorstModules);
}

Json ReportJson(const std::string& output, const quant::ConvertReport& report) {
  const ModelFacts facts = FactsOf(report.manifest);
  return {{"dry_run", false},
          {"output", output},
          {"files", report.files},
          {"seconds", report.seconds},
          {"bytes_resumed", report.bytes_resumed},
          {"source", SourceJson(report.manifest.source)},
          {"quantization", QuantizationJson(report.manifest.quantization)},
          {"summary", SummaryJson(facts, report.bytes_file)},
          {"modules", ModulesJson(report.manifest, facts)},
          {"warnings", report.warnings}};
}

}  // namespace octavo::tools
