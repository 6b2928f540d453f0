#include "tools/usage_error.h"

#include <vector>

#include "tools/near_names.h"

namespace octavo::tools {
namespace {

std::string ExtraArgument(const CLI::App& app) {
  const std::vector<std::string> extra = app.remaining(true);
  const std::string first = extra.empty() ? "" : extra.front();
  const auto chosen = app.get_subcommands();
  if (!chosen.empty()) {
    return "unexpected argument \"" + first + "\", see octavo " + chosen.back()->get_name() +
           " --help";
  }
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  return "no verb \"" + first + "\"" + ListNames(verbs);
}

}  // namespace

std::string DescribeUsageError(const CLI::App& app, const CLI::ParseError& error) {
  const bool extra = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  return extra ? ExtraArgument(app) : error.what();
}

}  // namespace octavo::tools
