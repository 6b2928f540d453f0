#include "tools/module_groups.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "tools/module_pattern.h"
#include "tools/table.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr size_t kMaxGroups = 100;  // of one table, before a person stops reading

// The rows that are left out of a table, as one.
struct Rest {
  uint64_t groups = 0;
  uint64_t modules = 0;
  uint64_t bytes = 0;

  void Add(const ModuleGroup& group) {
    ++groups;
    modules += group.count;
    bytes += group.bytes;
  }
};

// What must be equal within a group.
void SetKey(std::string_view pattern, const ModuleLine& line, std::string* key) {
  key->assign(pattern);
  for (const uint64_t number :
       {line.in_features, line.out_features, line.experts, uint64_t{line.quantized}}) {
    key->append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  key->append(line.tied_to).append(1, '\0').append(line.reason);
}

std::string Snr(const std::optional<double>& snr_db) {
  return snr_db ? Format("%.2f dB", *snr_db) : "exact";
}

// The groups with `quantized` as it says, a table's columns chosen by what there is to show.
std::string GroupTable(std::span<const ModuleGroup> groups, bool quantized,
                       const TableStyle& style) {
  const bool measured = quantized && std::ranges::any_of(groups, [](const ModuleGroup& group) {
                          return group.first.quantized && group.worst_snr_db;
                        });
  std::string alignment = "lr";
  std::vector<std::string> title = {"module", "count"};
  const auto add_column = [&](char align, const char* name) {
    alignment += align;
    title.emplace_back(name);
  };
  if (style.numbers) add_column('l', "which");
  add_column('l', "in -> out");
  add_column('r', "size");
  if (measured) add_column('r', "worst SNR");
  add_column('l', "why");
  Table table(alignment);
  table.AddRow(title);
  Rest rest;
  size_t shown = 0;
  for (const ModuleGroup& group : groups) {
    if (group.first.quantized != quantized) continue;
    if (!style.all && shown++ >= kMaxGroups) {
      rest.Add(group);
      continue;
    }
    std::vector<std::string> cells = {group.pattern, FormatCount(group.count)};
    if (style.numbers) cells.push_back(group.numbers);
    cells.push_back(Features(group.first));
    cells.push_back(group.bytes == 0 ? "" : FormatBytes(group.bytes));
    if (measured) cells.push_back(Snr(group.worst_snr_db));
    cells.push_back(Escaped(group.first.reason));
    table.AddRow(std::move(cells));
  }
  std::string text = table.ToString();
  if (rest.groups > 0) {
    text += "  … and " + FormatCount(rest.groups) + " more lines of " +
            Plural(rest.modules, "module") + ", " + FormatBytes(rest.bytes) +
            " (--json lists every module)\n";
  }
  return text;
}

}  // namespace

ModuleLine LineOf(const format::Module& module, uint64_t bytes) {
  return {module.name,
          module.quantized,
          module.reason,
          module.in_features,
          module.out_features,
          module.experts,
          module.tied_to,
          bytes,
          module.error ? module.error->snr_db : std::nullopt};
}

std::vector<ModuleLine> LinesOf(const format::Manifest& manifest, const ModelFacts& facts) {
  std::vector<ModuleLine> lines;
  for (size_t i = 0; i < manifest.modules.size(); ++i) {
    lines.push_back(LineOf(manifest.modules[i], facts.module_bytes[i]));
  }
  return lines;
}

std::vector<ModuleLine> LinesOf(const quant::Plan& plan) {
  std::vector<ModuleLine> lines;
  for (size_t i = 0; i < plan.policy.decisions.size(); ++i) {
    const quant::Decision& decision = plan.policy.decisions[i];
    lines.push_back({decision.module, decision.action == quant::Action::kQuantize, decision.reason,
                     decision.in_features, decision.out_features, decision.experts,
                     decision.tied_to, plan.module_bytes[i], std::nullopt});
  }
  return lines;
}

std::vector<ModuleGroup> GroupModules(std::span<const ModuleLine> lines, Grouping grouping) {
  std::unordered_map<std::string, size_t> known;
  std::vector<ModuleGroup> groups;
  std::vector<NumberSets> numbers;
  NumberedName name;
  std::string key;
  for (size_t i = 0; i < lines.size(); ++i) {
    const ModuleLine& line = lines[i];
    if (grouping == Grouping::kEach) {
      name.pattern = line.name;
    } else {
      name.Take(line.name, grouping == Grouping::kDigits);
    }
    SetKey(name.pattern, line, &key);
    const auto [entry, added] = known.try_emplace(key, groups.size());
    if (added) {
      groups.emplace_back().first = line;
      numbers.emplace_back();
    }
    numbers[entry->second].Add(name);
    ModuleGroup& group = groups[entry->second];
    ++group.count;
    group.members.push_back(i);
    group.bytes += line.bytes;
    if (line.snr_db) {
      group.worst_snr_db = std::min(group.worst_snr_db.value_or(*line.snr_db), *line.snr_db);
    }
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    groups[i].pattern = Escaped(numbers[i].Pattern());
    groups[i].numbers = Escaped(numbers[i].Describe());
  }
  return groups;
}

std::vector<ModuleGroup> GroupForPeople(std::span<const ModuleLine> lines) {
  std::vector<ModuleGroup> groups = GroupModules(lines, Grouping::kComponents);
  return groups.size() <= kMaxGroups ? groups : GroupModules(lines, Grouping::kDigits);
}

std::string Features(const ModuleLine& line) {
  if (line.in_features == 0 && line.out_features == 0) return "";
  std::string text = std::to_string(line.in_features) + " -> " + std::to_string(line.out_features);
  return line.experts > 0 ? std::to_string(line.experts) + " x " + text : text;
}

std::string QuantizedTable(std::span<const ModuleGroup> groups, const TableStyle& style) {
  return GroupTable(groups, true, style);
}

std::string SkippedTable(std::span<const ModuleGroup> groups, const TableStyle& style) {
  return GroupTable(groups, false, style);
}

}  // namespace octavo::tools
