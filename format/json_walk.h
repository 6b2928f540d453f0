// Walks a JSON text that somebody else wrote, value by value, without building a tree and without
// exceptions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "octavo/result.h"

namespace octavo::format {

// A value that is neither an object nor an array.
struct JsonScalar {
  enum class Type { kNull, kBool, kCount, kNumber, kString };
  Type type = Type::kNull;
  uint64_t count = 0;     // kCount: digits alone, below 2^64
  double number = 0;      // kNumber: any other
  std::string_view text;  // kString, decoded; valid during the call

  bool is_string() const { return type == Type::kString; }
  bool is_count() const { return type == Type::kCount; }
};

// Derive, override what matters, call Walk once. The text must be one object with nothing but white
// space around it; no object may have a key twice; nesting and the number of keys are limited, so
// memory stays proportional to the text. Single thread.
class JsonWalker {
 public:
  static constexpr size_t kMaxDepth = 64;
  static constexpr size_t kMaxKeys = 4'000'000;  // ten times what the largest published models have

  virtual ~JsonWalker() = default;
  // The first error of an override, or kInvalidFile saying what is wrong with the JSON and at which
  // byte.
  Status Walk(std::string_view text, size_t max_keys = kMaxKeys);

 protected:
  // Keys that lead to the value at hand; "" for an element of an array. Empty for the outermost
  // object.
  const std::vector<std::string>& path() const { return path_; }
  virtual Status OnBegin(bool is_array);  // of an object or array
  virtual Status OnEnd();                 // of the object or array at path()
  virtual Status OnScalar(const JsonScalar& scalar);

 private:
  class Events;
  std::vector<std::string> path_;
  std::vector<std::unordered_set<std::string_view>>
      open_keys_;  // of each open object; empty for arrays
};

}  // namespace octavo::format
