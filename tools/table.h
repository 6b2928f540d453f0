// Columns that line up, as wide as their content.
#pragma once

#include <string>
#include <vector>

namespace octavo::tools {

// Cells are UTF-8 without control characters. Thread-compatible.
class Table {
 public:
  // One letter for each column: 'l' left, 'r' right aligned.
  explicit Table(std::string alignment) : alignment_(std::move(alignment)) {}

  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  // Every line starts with `indent` spaces and ends with a newline, without trailing spaces.
  std::string ToString(int indent = 2) const;

 private:
  std::string alignment_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace octavo::tools
