#include "octavo/shape.h"

#include <algorithm>

namespace octavo {
namespace {

// Product with a zero anywhere giving 0, however large the others are.
std::optional<uint64_t> CheckedProduct(std::span<const uint64_t> extents) {
  if (std::find(extents.begin(), extents.end(), 0u) != extents.end()) return 0;
  uint64_t product = 1;
  for (const uint64_t extent : extents) {
    if (__builtin_mul_overflow(product, extent, &product)) return std::nullopt;
  }
  return product;
}

}  // namespace

Shape::Shape(std::initializer_list<uint64_t> extents) : rank_(static_cast<int>(extents.size())) {
  std::copy(extents.begin(), extents.end(), extents_.begin());
}

std::optional<Shape> Shape::Make(std::span<const uint64_t> extents) {
  if (extents.size() > kMaxRank) return std::nullopt;
  Shape shape;
  shape.rank_ = static_cast<int>(extents.size());
  std::copy(extents.begin(), extents.end(), shape.extents_.begin());
  return shape;
}

std::optional<uint64_t> Shape::NumElements() const { return CheckedProduct(extents()); }

std::optional<uint64_t> Shape::NumRows() const {
  return rank_ == 0 ? 1 : CheckedProduct(extents().first(static_cast<size_t>(rank_ - 1)));
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(extents_[axis]);
  }
  return text + "]";
}

bool operator==(const Shape& a, const Shape& b) {
  return std::ranges::equal(a.extents(), b.extents());
}

}  // namespace octavo
