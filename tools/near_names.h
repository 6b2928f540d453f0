// Help for a mistyped name.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace octavo::tools {

// "; did you mean \"a\", \"b\" or \"c\"?" with the nearest names, or "" where none is near.
std::string SuggestNames(std::string_view wanted, std::span<const std::string> names);

// "; there are: \"a\", \"b\", …" with at most eight, or "; there are none".
std::string ListNames(std::span<const std::string> names);

}  // namespace octavo::tools
