// A name with its numbers taken out, and which numbers a group of such names has.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::tools {

// "model.layers.12.mlp.experts.3.up_proj": the pattern has a zero byte in place of each number, and
// the numbers are 12 and 3. Used again and again, it allocates nothing.
struct NumberedName {
  std::string pattern;
  std::vector<std::string_view> numbers;  // views of the name

  // Numbers are whole components of at most nine digits, or with `within` any run of such digits.
  void Take(std::string_view name, bool within);
};

// The numbers of several names with one pattern.
class NumberSets {
 public:
  void Add(const NumberedName& name);

  // The pattern with the numbers back in, "*" where they differ.
  std::string Pattern() const;
  // Where they differ, which, with the word before each: "layers 0-5, 8; experts 0-63"; "" where
  // they do not.
  std::string Describe() const;

 private:
  std::string pattern_;
  std::vector<std::string> first_;
  std::vector<std::set<uint32_t>> sets_;
};

}  // namespace octavo::tools
