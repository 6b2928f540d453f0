#include "runtime/slice.h"

#include <algorithm>

namespace octavo {
namespace {

// Rows of codes on a GPU are padded to so many features, and packed layouts have blocks of 64.
constexpr int64_t kLargestUnit = 128;

int64_t CeilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

bool IsEven(int64_t features, int64_t world, int64_t unit) {
  const int64_t units = CeilDiv(features, unit), share = CeilDiv(features, world);
  const int64_t largest = CeilDiv(units, world) * unit;  // the first rank's
  return units >= world && largest - share <= share / 8;
}

FeatureRange RangeOf(const Linear& linear, SliceAxis axis, uint64_t features) {
  if (!linear.part() || linear.part()->axis != axis) return {0, features};
  return {static_cast<uint64_t>(linear.part()->begin), static_cast<uint64_t>(linear.part()->end)};
}

const char* Name(SliceAxis axis) {
  return axis == SliceAxis::kOutFeatures ? "out_features" : "in_features";
}

}  // namespace

Slice SplitFeatures(int64_t features, int32_t rank, int32_t world, SliceAxis axis) {
  int64_t unit = kLargestUnit;
  while (unit > 1 && !IsEven(features, world, unit)) unit /= 2;
  const int64_t units = CeilDiv(features, unit);
  const auto first_unit = [&](int64_t r) {
    return r * (units / world) + std::min(r, units % world);
  };
  return {axis, std::min(features, first_unit(rank) * unit),
          std::min(features, first_unit(int64_t{rank} + 1) * unit)};
}

Result<Linear> Linear::slice(int32_t rank, int32_t world, SliceAxis axis) const {
  if (world < 1 || rank < 0 || rank >= world)
    return Status(ErrorCode::kInvalidArgument, "linear \"" + name() + "\": there is no rank " +
                                                   std::to_string(rank) + " of " +
                                                   std::to_string(world));
  const int64_t features = axis == SliceAxis::kOutFeatures ? out_features() : in_features();
  const Slice part = SplitFeatures(features, rank, world, axis);
  return slice_features(part.begin, part.end, axis);
}

Result<Linear> Linear::slice_features(int64_t begin, int64_t end, SliceAxis axis) const {
  const auto invalid = [&](const std::string& what) {
    return Status(ErrorCode::kInvalidArgument, "linear \"" + name() + "\": " + what);
  };
  if (axis != SliceAxis::kOutFeatures && axis != SliceAxis::kInFeatures)
    return invalid("there is no axis " + std::to_string(static_cast<int32_t>(axis)) + " to slice");
  if (in_memory_ != nullptr)
    return invalid("a linear in memory cannot be sliced; give it a slice's operands");
  if (part_) return invalid("a slice cannot be sliced again");
  const int64_t features = axis == SliceAxis::kOutFeatures ? out_features() : in_features();
  if (begin < 0 || end < begin || end > features)
    return invalid("features " + std::to_string(begin) + " to " + std::to_string(end) +
                   " are not within its " + std::to_string(features) + " " + Name(axis));
  Linear linear = *this;
  linear.part_ = Slice{axis, begin, end};
  return linear;
}

FeatureRange OutRange(const Linear& linear) {
  return RangeOf(linear, SliceAxis::kOutFeatures, linear.module().out_features);
}

FeatureRange InRange(const Linear& linear) {
  return RangeOf(linear, SliceAxis::kInFeatures, linear.module().in_features);
}

bool IsRowParallel(const Linear& linear) {
  return linear.part() && linear.part()->axis == SliceAxis::kInFeatures;
}

}  // namespace octavo
