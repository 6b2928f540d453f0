// Modules that differ only in numbers (a layer's, an expert's), as one line: readable for five
// modules and for sixty thousand.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "octavo/convert.h"
#include "octavo/manifest.h"
#include "tools/model_facts.h"

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
  uint64_t bytes = 0;  // of its tensors in the file
  std::optional<double> snr_db;
};
ModuleLine LineOf(const format::Module& module, uint64_t bytes);
std::vector<ModuleLine> LinesOf(const format::Manifest& manifest, const ModelFacts& facts);
std::vector<ModuleLine> LinesOf(const quant::Plan& plan);

struct ModuleGroup {
  std::string pattern;  // escaped; numbers that differ within the group as "*"
  std::string numbers;  // which those are, with the word before each: "layers 0-5, experts 0-63"
  uint64_t count = 0;
  uint64_t bytes = 0;
  ModuleLine first;  // features, reason, …: equal in the whole group
  std::optional<double> worst_snr_db;
  std::vector<size_t> members;  // which of the lines
};

enum class Grouping {
  kEach,        // every module is its own group
  kComponents,  // components that are numbers: "h.0.attn"
  kDigits,      // also numbers within components: "expert_0"
};

// Groups of equal pattern, fate, features and reason, in the order of their first modules.
std::vector<ModuleGroup> GroupModules(std::span<const ModuleLine> lines, Grouping grouping);
// The finest of kComponents and kDigits that a person can read.
std::vector<ModuleGroup> GroupForPeople(std::span<const ModuleLine> lines);

// Tables of groups: those that are quantized (with the worst SNR where known), and the others. At
// most about a hundred lines, unless `all`. `numbers`: with a column that says which.
struct TableStyle {
  bool all = false;
  bool numbers = false;
};
std::string QuantizedTable(std::span<const ModuleGroup> groups, const TableStyle& style);
std::string SkippedTable(std::span<const ModuleGroup> groups, const TableStyle& style);

// "256 -> 768", "8 x 256 -> 768" for experts, "" for what is no linear.
std::string Features(const ModuleLine& line);

}  // namespace octavo::tools
