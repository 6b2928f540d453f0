// Modules that differ only in a layer's or expert's number, as one line: readable for five modules
// and for sixty thousand.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/manifest.h"
#include "octavo/policy.h"

namespace octavo::tools {

// What a line is about; the same for a plan's decision and for a file's module.
struct ModuleLine {
  std::string name;
  bool quantized = false;
  std::string reason;
  uint64_t in_features = 0;
  uint64_t out_features = 0;
  uint64_t experts = 0;
  std::string tied_to;
  std::optional<double> snr_db;
};
ModuleLine LineOf(const format::Module& module);
ModuleLine LineOf(const quant::Decision& decision);
std::vector<ModuleLine> LinesOf(const format::Manifest& manifest);

struct ModuleGroup {
  std::string pattern;  // escaped; components that are numbers, where they vary, as "*"
  uint64_t count = 0;
  ModuleLine first;  // features, reason, …: equal in the whole group
  std::optional<double> worst_snr_db;
};

// Groups of equal pattern, fate, features and reason, in the order of their first modules. With
// `each`, every module is its own group.
std::vector<ModuleGroup> GroupModules(std::span<const ModuleLine> lines, bool each);

// Tables of groups: those that are quantized (with the worst SNR where known), and the others with
// reasons.
std::string QuantizedTable(std::span<const ModuleGroup> groups);
std::string SkippedTable(std::span<const ModuleGroup> groups);

// "256 -> 768", "8 x 256 -> 768" for experts, "" for what is no linear.
std::string Features(const ModuleLine& line);

}  // namespace octavo::tools
