// What a module's name alone says: matching by whole dotted components, and the general rules for
// models that the table of architectures does not know.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "octavo/manifest.h"

namespace octavo::quant {

// "h.0.attn" -> {"h", "0", "attn"}.
std::vector<std::string_view> SplitComponents(std::string_view name);

// Whether the last components of `name` are those of `pattern` ("*": any one).
bool EndsWithComponents(std::string_view pattern, std::string_view name);
// The first of `patterns` that does; null if none.
const std::string_view* FindEnding(std::span<const std::string_view> patterns,
                                   std::string_view name);

// What a name alone says about a module that is no linear to quantize.
struct NameRule {
  // kEnd: last components; kWhole: the full name; kComponent: any one component; the others: within
  // the last component.
  enum class Where { kEnd, kWhole, kComponent, kContains, kStarts };
  Where where;
  std::string_view text;  // lower case for kContains and kStarts
  format::ModuleKind kind;
  std::string_view reason;
};

// The general rules in order; docs/architectures.md lists them.
std::span<const NameRule> GeneralRules();
// The first rule that fits, numbers at the end aside; null: an ordinary module, by its name.
const NameRule* FindGeneralRule(std::string_view module);

}  // namespace octavo::quant
