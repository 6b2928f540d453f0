#include "tools/module_groups.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "tools/table.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

bool IsNumber(std::string_view component) {
  return !component.empty() && component.find_first_not_of("0123456789") == std::string_view::npos;
}

std::string Pattern(std::string_view name) {
  std::string pattern;
  while (true) {
    const size_t dot = name.find('.');
    const std::string_view component = name.substr(0, dot);
    pattern += IsNumber(component) ? std::string_view("*") : component;
    if (dot == std::string_view::npos) return pattern;
    pattern += '.';
    name.remove_prefix(dot + 1);
  }
}

}  // namespace

ModuleLine LineOf(const format::Module& module) {
  return {module.name,         module.quantized,
          module.reason,       module.in_features,
          module.out_features, module.experts,
          module.tied_to,      module.error ? module.error->snr_db : std::nullopt};
}

ModuleLine LineOf(const quant::Decision& decision) {
  return {decision.module,       decision.action == quant::Action::kQuantize,
          decision.reason,       decision.in_features,
          decision.out_features, decision.experts,
          decision.tied_to,      std::nullopt};
}

std::vector<ModuleLine> LinesOf(const format::Manifest& manifest) {
  std::vector<ModuleLine> lines;
  for (const format::Module& module : manifest.modules) lines.push_back(LineOf(module));
  return lines;
}

std::vector<ModuleGroup> GroupModules(std::span<const ModuleLine> lines, bool each) {
  using Key = std::tuple<std::string, bool, std::string, uint64_t, uint64_t, uint64_t, std::string>;
  std::map<Key, size_t> known;
  std::vector<ModuleGroup> groups;
  for (const ModuleLine& line : lines) {
    const std::string pattern = each ? line.name : Pattern(line.name);
    const Key key(pattern, line.quantized, line.reason, line.in_features, line.out_features,
                  line.experts, line.tied_to);
    const auto [entry, added] = known.try_emplace(key, groups.size());
    if (added) groups.push_back({Escaped(pattern), 0, line, std::nullopt});
    ModuleGroup& group = groups[entry->second];
    ++group.count;
    if (line.snr_db) {
      group.worst_snr_db = std::min(group.worst_snr_db.value_or(*line.snr_db), *line.snr_db);
    }
  }
  for (ModuleGroup& group : groups) {
    if (group.count == 1) group.pattern = Escaped(group.first.name);
  }
  return groups;
}

std::string Features(const ModuleLine& line) {
  if (line.in_features == 0 && line.out_features == 0) return "";
  std::string text = std::to_string(line.in_features) + " -> " + std::to_string(line.out_features);
  return line.experts > 0 ? std::to_string(line.experts) + " x " + text : text;
}

std::string QuantizedTable(std::span<const ModuleGroup> groups) {
  const bool measured = std::any_of(groups.begin(), groups.end(), [](const ModuleGroup& group) {
    return group.first.quantized && group.worst_snr_db;
  });
  Table table(measured ? "lrlrl" : "lrll");
  table.AddRow(measured
                   ? std::vector<std::string>{"module", "count", "in -> out", "worst SNR", "why"}
                   : std::vector<std::string>{"module", "count", "in -> out", "why"});
  for (const ModuleGroup& group : groups) {
    if (!group.first.quantized) continue;
    std::vector<std::string> cells = {group.pattern, FormatCount(group.count),
                                      Features(group.first)};
    if (measured) {
      cells.push_back(group.worst_snr_db ? Format("%.2f dB", *group.worst_snr_db) : "exact");
    }
    cells.push_back(Escaped(group.first.reason));
    table.AddRow(std::move(cells));
  }
  return table.ToString();
}

std::string SkippedTable(std::span<const ModuleGroup> groups) {
  Table table("lrll");
  table.AddRow({"module", "count", "in -> out", "why"});
  for (const ModuleGroup& group : groups) {
    if (group.first.quantized) continue;
    table.AddRow({group.pattern, FormatCount(group.count), Features(group.first),
                  Escaped(group.first.reason)});
  }
  return table.ToString();
}

}  // namespace octavo::tools
