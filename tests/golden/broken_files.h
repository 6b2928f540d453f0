// Files that break one rule each: what tests/golden/invalid holds as NAME.8vo. The name begins with the rule's number.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "octavo/result.h"
#include "tests/golden/surgery.h"

namespace octavo::testing {

struct BrokenFile {
  std::string_view name;  // "R01_bad_magic"
  ErrorCode code;
  std::string_view sample;  // the valid file that it comes from
  Bytes (*make)(const Bytes& valid);
};
std::span<const BrokenFile> BrokenFiles();

// "R01_bad_magic" -> "(R1)".
std::string RuleOf(std::string_view name);

}  // namespace octavo::testing
