// How `--help` looks: an option's value, then its description wrapped to 100 columns.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace octavo::tools {

// Shows an option's option_text() and nothing that CLI11 derives from its checks.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_usage(const CLI::App* app, std::string name) const override;
};

}  // namespace octavo::tools
