#include "tools/usage_error.h"

#include <vector>

#include "tools/near_names.h"

namespace octavo::tools {
namespace {

// What may have been meant by "--threshhold" or "--out=x".
std::string SuggestOptions(const CLI::App& verb, const std::string& argument) {
  if (!argument.starts_with("--")) return "";
  const std::string wanted = argument.substr(0, argument.find('='));
  std::vector<std::string> names, longer;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back("--" + name);
      if (wanted.size() > 3 && names.back().starts_with(wanted)) longer.push_back(names.back());
    }
  }
  return longer.size() == 1 ? "; did you mean \"" + longer[0] + "\"?" : SuggestNames(wanted, names);
}

std::string ExtraArgument(const CLI::App& app) {
  const std::vector<std::string> extra = app.remaining(true);
  const std::string first = extra.empty() ? "" : extra.front();
  const auto chosen = app.get_subcommands();
  if (!chosen.empty()) {
    const CLI::App& verb = *chosen.back();
    const std::string near = SuggestOptions(verb, first);
    return "unexpected argument \"" + first + "\"" + near + (near.empty() ? ", see " : " See ") +
           "octavo " + verb.get_name() + " --help";
  }
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  const std::string near = SuggestNames(first, verbs);
  return "no verb \"" + first + "\"" +
         (near.empty() ? ListNames(verbs) + "; see octavo --help" : near);
}

}  // namespace

std::string DescribeUsageError(const CLI::App& app, const CLI::ParseError& error) {
  const bool extra = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  return extra ? ExtraArgument(app) : error.what();
}

}  // namespace octavo::tools
