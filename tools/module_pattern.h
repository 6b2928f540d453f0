// A name with its numbers taken out, and which numbers a group of such names has.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::tools {

// "model.layers.12.mlp.experts.3.up_proj": texts "model.layers.", ".mlp.experts.", ".up_proj" and
// the numbers 12 and 3 between them.
struct NumberedName {
  std::vector<std::string> texts;  // one more than numbers
  std::vector<std::string> numbers;

  // The texts joined by a byte that no name has: equal for names that differ only in numbers.
  std::string Key() const;
};

// Numbers are whole components of at most nine digits, or with `within` any run of such digits.
NumberedName TakeNumbersOut(std::string_view name, bool within);

// The numbers of several names with the same texts.
class NumberSets {
 public:
  void Add(const NumberedName& name);

  // The texts with the numbers back in, "*" where they differ.
  std::string Pattern() const;
  // Where they differ, which: "layers 0-5, 8, experts 0-63"; "" where they do not.
  std::string Describe() const;

 private:
  std::vector<std::string> texts_;
  std::vector<std::string> first_;
  std::vector<std::set<uint32_t>> sets_;
};

}  // namespace octavo::tools
