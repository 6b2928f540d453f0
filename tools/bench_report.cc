// What `octavo bench` prints.
#include <algorithm>
#include <optional>

#include "tools/bench_run.h"
#include "tools/table.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr size_t kFewTokens = 16;  // up to here the weights' bytes decide, whatever the arithmetic

double Operations(const BenchResult& result) {
  return 2.0 * static_cast<double>(result.shape.weights()) * static_cast<double>(result.tokens);
}

// The least time that reading the operands and computing the product can take, over the measured
// time. Empty where what would decide has no known ceiling.
std::optional<double> ShareOfCeiling(const BenchResult& result, const BenchCeilings& ceilings,
                                     kernels::ElementType type) {
  if (ceilings.int8_operations == 0 && result.tokens > kFewTokens) return {};
  const double features = static_cast<double>(result.shape.in_features + result.shape.out_features);
  const double bytes = static_cast<double>(result.shape.weights()) +
                       features * static_cast<double>(result.tokens * kernels::ElementBytes(type));
  double least = bytes / ceilings.read_bytes;
  if (ceilings.int8_operations > 0)
    least = std::max(least, Operations(result) / ceilings.int8_operations);
  return least / result.median();
}

double WeightGbs(const BenchResult& result) {
  return static_cast<double>(result.shape.weights()) / result.median() * 1e-9;
}

double Tops(const BenchResult& result) { return Operations(result) / result.median() * 1e-12; }

const char* NameOf(kernels::ElementType type) {
  switch (type) {
    case kernels::ElementType::kFloat16:
      return "F16";
    case kernels::ElementType::kBFloat16:
      return "BF16";
    case kernels::ElementType::kFloat32:
      break;
  }
  return "F32";
}

const char* NameOf(kernels::Activations activations) {
  return activations == kernels::Activations::kSymmetric ? "symmetric" : "asymmetric";
}

const char* NameOf(kernels::Scope scope) {
  return scope == kernels::Scope::kToken ? "token" : "batch";
}

const char* NameOf(kernels::RowRule rule) {
  return rule == kernels::RowRule::kBelowThreshold ? "below_threshold" : "inlier_columns";
}

Json NumberOrNull(double value) { return value > 0 ? Json(value) : Json(nullptr); }

Json ResultJson(const BenchResult& result, const BenchOutcome& outcome,
                const BenchSettings& settings) {
  const auto share = ShareOfCeiling(result, outcome.ceilings, settings.type);
  return {{"tokens", result.tokens},
          {"in_features", result.shape.in_features},
          {"out_features", result.shape.out_features},
          {"method", "vector-wise"},
          {"activations", NameOf(settings.options.activations)},
          {"scope", NameOf(settings.options.scope)},
          {"row_rule", NameOf(settings.options.row_rule)},
          {"threshold", settings.options.threshold},
          {"dtype", NameOf(settings.type)},
          {"outlier_columns", result.outlier_columns},
          {"kept_columns", result.kept_columns},
          {"cold", settings.cold},
          {"product", result.product.empty() ? Json(nullptr) : Json(result.product)},
          {"rounds", result.seconds.size()},
          {"ms", result.median() * 1e3},
          {"spread", result.spread()},
          {"tops", Tops(result)},
          {"weight_gbs", WeightGbs(result)},
          {"share_of_ceiling", share ? Json(*share) : Json(nullptr)}};
}

}  // namespace

std::string BenchText(const BenchOutcome& outcome, const BenchSettings& settings) {
  const BenchCeilings& ceilings = outcome.ceilings;
  std::string text = Escaped(outcome.device_name) + ", " + outcome.backend;
  if (settings.device == kCpuDevice)
    text += ", " + Plural(static_cast<uint64_t>(outcome.num_threads), "thread");
  text += "\nceilings  ";
  if (ceilings.int8_operations > 0)
    text += Format("int8 %.3g TOPS, ", ceilings.int8_operations * 1e-12);
  text += Format(settings.device == kCpuDevice ? "reads %.1f GB/s" : "copies %.0f GB/s",
                 ceilings.read_bytes * 1e-9);
  text += "\nlinears   " + std::string(settings.cold ? "cold" : "hot") + " weights, " +
          NameOf(settings.type) + ", " + NameOf(settings.options.activations) + ", scope " +
          NameOf(settings.options.scope) + ", " + NameOf(settings.options.row_rule) +
          ", threshold " + FormatNumber(settings.options.threshold) + "\nchecked   " +
          FormatCount(outcome.checked_outputs) + " outputs against the definition, all right\n\n";

  Table table("rrrrrrrrrl");
  table.AddRow({"out x in", "tokens", "outliers", "kept", "time", "spread", "TOPS", "GB/s",
                "of ceiling", ""});
  for (const BenchResult& result : outcome.results) {
    const auto share = ShareOfCeiling(result, ceilings, settings.type);
    table.AddRow(
        {std::to_string(result.shape.out_features) + "x" + std::to_string(result.shape.in_features),
         std::to_string(result.tokens), std::to_string(result.outlier_columns),
         std::to_string(result.kept_columns), Format("%.4g ms", result.median() * 1e3),
         Format("%.1f %%", result.spread() * 100), Format("%.3g", Tops(result)),
         Format("%.1f", WeightGbs(result)), share ? Format("%.1f %%", *share * 100) : "-",
         result.product});
  }
  return text + table.ToString();
}

Json BenchJson(const BenchOutcome& outcome, const BenchSettings& settings) {
  Json results = Json::array();
  for (const BenchResult& result : outcome.results)
    results.push_back(ResultJson(result, outcome, settings));
  return {{"device", ToString(settings.device)},
          {"device_name", outcome.device_name},
          {"backend", outcome.backend},
          {"threads", outcome.num_threads},
          {"ceilings",
           {{"int8_tops", NumberOrNull(outcome.ceilings.int8_operations * 1e-12)},
            {"read_gbs", NumberOrNull(outcome.ceilings.read_bytes * 1e-9)}}},
          {"checked_outputs", outcome.checked_outputs},
          {"results", std::move(results)}};
}

}  // namespace octavo::tools
