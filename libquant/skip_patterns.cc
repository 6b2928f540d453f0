#include "libquant/skip_patterns.h"

#include "libquant/name_rules.h"

namespace octavo::quant {

bool MatchesModule(std::string_view pattern, std::string_view module) {
  for (size_t end = module.size();;) {
    if (EndsWithComponents(pattern, module.substr(0, end))) return true;
    end = module.substr(0, end).rfind('.');
    if (end == std::string_view::npos) return false;
  }
}

Status CheckPattern(const std::string& pattern) {
  for (const std::string_view component : SplitComponents(pattern)) {
    if (component.empty()) {
      return Status(ErrorCode::kInvalidArgument,
                    "pattern \"" + pattern + "\": a component between dots is empty");
    }
    if (component != "*" && component.find_first_of("*?[]()^$|\\+") != std::string_view::npos) {
      return Status(ErrorCode::kInvalidArgument,
                    "pattern \"" + pattern + "\": \"" + std::string(component) +
                        "\" is no name; patterns are whole dotted components, and \"*\" stands "
                        "for one of any content");
    }
  }
  return {};
}

void ApplySkipPatterns(std::span<const std::string> patterns, Policy* policy) {
  for (const std::string& pattern : patterns) {
    bool has_match = false;
    for (Decision& decision : policy->decisions) {
      if (!MatchesModule(pattern, decision.module)) continue;
      has_match = true;
      if (decision.action != Action::kQuantize) continue;
      decision.action = Action::kKeep;
      decision.reason = "kept by request: \"" + pattern + "\"";
    }
    if (!has_match) {
      policy->warnings.push_back("pattern \"" + pattern + "\" matches no module");
    }
  }
}

}  // namespace octavo::quant
