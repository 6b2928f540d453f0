// The extents of a tensor, row-major, with checked arithmetic: every product that comes from a file can overflow.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

namespace octavo {

// Up to kMaxRank extents, by value. Rank 0 is a scalar: one element. Thread-compatible.
class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  // Requires: at most kMaxRank extents; for extents from a file use Make.
  Shape(std::initializer_list<uint64_t> extents);
  // Nothing if there are more than kMaxRank extents.
  static std::optional<Shape> Make(std::span<const uint64_t> extents);

  int rank() const { return rank_; }
  uint64_t operator[](int axis) const { return extents_[axis]; }
  std::span<const uint64_t> extents() const { return {extents_.data(), static_cast<size_t>(rank_)}; }

  // Product of all extents; nothing where it does not fit 64 bits (a zero among huge extents gives 0).
  std::optional<uint64_t> NumElements() const;
  // A row is the last dimension; a scalar is one row of one element.
  uint64_t row_elements() const { return rank_ == 0 ? 1 : extents_[rank_ - 1]; }
  // Product of all extents but the last; nothing on overflow.
  std::optional<uint64_t> NumRows() const;

  std::string ToString() const;  // "[4096, 256]"
  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<uint64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

}  // namespace octavo
