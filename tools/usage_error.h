// What to say to somebody whose command line could not be parsed.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace octavo::tools {

// One sentence, without a full stop.
std::string DescribeUsageError(const CLI::App& app, const CLI::ParseError& error);

}  // namespace octavo::tools
