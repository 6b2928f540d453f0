// Names to numbers, for manifests with hundreds of thousands of them: two flat arrays in place of a
// node for each name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace octavo::format {

// The first name added is number 0, and so on. Names are not copied: they must outlive the map. At
// most 2^31 of them.
class NameMap {
 public:
  // For about `count` names; more are fine.
  void Reserve(size_t count);
  // False, and nothing is added, where the name is there already.
  bool Add(std::string_view name);
  std::optional<size_t> Find(std::string_view name) const;
  size_t size() const { return names_.size(); }

 private:
  struct Entry {
    uint32_t hash = 0;
    uint32_t number = kEmpty;
  };
  static constexpr uint32_t kEmpty = UINT32_MAX;

  // Where the name is, or where it would go. Requires: table_ is not empty.
  size_t Locate(std::string_view name, uint32_t hash) const;
  void Rehash(size_t size);

  std::vector<std::string_view> names_;
  std::vector<Entry>
      table_;  // open addressing; its size is a power of two, at least twice that of names_
};

}  // namespace octavo::format
