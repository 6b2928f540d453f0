// Plain values one after the other in memory, in this machine's own form: for journals, which are
// read back by the same version on the same kind of machine. Files for others are not written so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace octavo::format {

class ByteWriter {
 public:
  template <typename T>
  void Put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    Append(&value, sizeof(T));
  }
  template <typename T>
  void PutVector(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    Put<uint64_t>(values.size());
    Append(values.data(), values.size() * sizeof(T));
  }
  void PutString(std::string_view text) {
    Put<uint64_t>(text.size());
    Append(text.data(), text.size());
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::byte> Take() { return std::move(bytes_); }

 private:
  void Append(const void* data, size_t count) {
    const size_t end = bytes_.size();
    bytes_.resize(end + count);
    if (count > 0) std::memcpy(bytes_.data() + end, data, count);
  }
  std::vector<std::byte> bytes_;
};

// Reads what a ByteWriter wrote, in the same order. What is not there reads as `value`, zero or
// empty, and ok() is false from then on.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : left_(bytes) {}

  template <typename T>
  T Get(T value = T()) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (Take(sizeof(T))) std::memcpy(&value, taken_.data(), sizeof(T));
    return value;
  }
  template <typename T>
  std::vector<T> GetVector() {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto count = Get<uint64_t>();
    std::vector<T> values;
    if (count <= left_.size() / sizeof(T) && Take(count * sizeof(T))) {
      values.resize(count);
      if (count > 0) std::memcpy(values.data(), taken_.data(), taken_.size());
    } else {
      is_ok_ = false;
    }
    return values;
  }
  std::string GetString() {
    const std::vector<char> text = GetVector<char>();
    return {text.begin(), text.end()};
  }
  bool ok() const { return is_ok_; }
  // Everything was read, and nothing was missing.
  bool AtEnd() const { return is_ok_ && left_.empty(); }

 private:
  bool Take(uint64_t count) {
    is_ok_ = is_ok_ && count <= left_.size();
    if (!is_ok_) return false;
    taken_ = left_.first(count);
    left_ = left_.subspan(count);
    return true;
  }
  std::span<const std::byte> left_;
  std::span<const std::byte> taken_;
  bool is_ok_ = true;
};

}  // namespace octavo::format
