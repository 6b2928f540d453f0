#include "tools/help_formatter.h"

#include <string_view>

namespace octavo::tools {
namespace {

constexpr size_t kIndent = 26;  // of descriptions
constexpr size_t kColumns = 100;

// Breaks at spaces; every line after the first is indented.
std::string Wrap(std::string_view text) {
  std::string wrapped;
  size_t column = kIndent;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (column > kIndent && column + 1 + word.size() > kColumns) {
      wrapped += "\n" + std::string(kIndent, ' ');
      column = kIndent;
    } else if (column > kIndent) {
      wrapped += ' ';
      ++column;
    }
    wrapped += word;
    column += word.size();
  }
  return wrapped;
}

}  // namespace

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  return option->get_option_text().empty() ? "" : " " + option->get_option_text();
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  std::string line = "  " + make_option_name(option, is_positional) + make_option_opts(option);
  if (line.size() + 2 > kIndent) {
    line += "\n" + std::string(kIndent, ' ');
  } else {
    line.append(kIndent - line.size(), ' ');
  }
  return line + Wrap(option->get_description()) + "\n";
}

std::string HelpFormatter::make_usage(const CLI::App* app, std::string /*name*/) const {
  if (app->get_parent() == nullptr) return "\nUsage: octavo VERB [OPTIONS] …\n";
  std::string usage = "\nUsage: octavo " + app->get_name();
  for (const CLI::Option* option : app->get_options()) {
    if (option->get_positional()) usage += " " + make_option_usage(option);
  }
  for (const CLI::Option* option : app->get_options()) {
    if (!option->get_positional() && option->get_required()) {
      usage += " " + option->get_name() + make_option_opts(option);
    }
  }
  return usage + " [OPTIONS]\n";
}

}  // namespace octavo::tools
