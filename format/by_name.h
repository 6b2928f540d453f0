// The elements of a manifest's list by their names.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "format/name_map.h"

namespace octavo::format {

// Names are mostly asked for in the list's order: what follows the last one found is looked at
// first, and a map is made for the first name that is elsewhere. Thread-safe.
template <typename T>
class ByName {
 public:
  // The list must outlive this, and stay as it is.
  explicit ByName(const std::vector<T>& list) : list_(list) {}

  // Null: none has this name. Requires: no name is there twice.
  const T* Find(std::string_view name) const {
    size_t number = next_.load(std::memory_order_relaxed);
    if (number >= list_.size() || list_[number].name != name) {
      std::call_once(map_is_made_, [this] { MakeMap(); });
      const std::optional<size_t> found = map_.Find(name);
      if (!found) return nullptr;
      number = *found;
    }
    next_.store(number + 1, std::memory_order_relaxed);
    return &list_[number];
  }

  // The first element whose name another one before it has; null: there is none.
  const T* FindTwice() const {
    std::call_once(map_is_made_, [this] { MakeMap(); });
    return twice_;
  }

 private:
  void MakeMap() const {
    map_.Reserve(list_.size());
    for (const T& element : list_) {
      if (!map_.Add(element.name) && twice_ == nullptr) twice_ = &element;
    }
  }

  const std::vector<T>& list_;
  mutable std::atomic<size_t> next_{0};
  mutable std::once_flag map_is_made_;
  mutable NameMap map_;
  mutable const T* twice_ = nullptr;
};

}  // namespace octavo::format
