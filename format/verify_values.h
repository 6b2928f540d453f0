// Rules R26 to R29: the values in a module's tensors. Sums of codes are gathered while chunks are read anyway.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "octavo/manifest.h"
#include "octavo/reader.h"
#include "octavo/result.h"

namespace octavo::format {

// What is known about the codes of one quantized module once all their chunks were added.
class CodeSums {
 public:
  explicit CodeSums(const Module& module);
  const Module& module() const { return module_; }
  // Raw rows of the codes' tensor, from row first_row on. Thread-safe.
  void Add(uint64_t first_row, std::span<const std::byte> raw);

 private:
  friend class ValueCheck;
  void AddPlain(uint64_t first_row, std::span<const std::byte> raw);
  void AddPacked(uint64_t first_row, std::span<const std::byte> raw);
  void AddCode(uint64_t row, int8_t code) {
    sums_[row] += code;
    any_nonzero_[row] |= code != 0;
    if (code == -128) has_lowest_.store(true, std::memory_order_relaxed);
  }

  const Module& module_;
  std::mutex mutex_;  // packed chunks share rows
  std::vector<int64_t> sums_;
  std::vector<uint8_t> any_nonzero_;
  std::atomic<bool> has_lowest_ = false;
  std::atomic<bool> has_padding_ = false;  // a padding code that is not zero
};

// Reads a whole tensor by name, unchecked.
using ReadTensor = std::function<Result<std::vector<std::byte>>(const std::string& name)>;

// Findings of one module. Requires: its tensors' digests are right, all its codes were added.
std::vector<Finding> CheckValues(const CodeSums& sums, const ReadTensor& read);

}  // namespace octavo::format
