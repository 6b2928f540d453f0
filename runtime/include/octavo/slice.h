// Which features of a linear one of several ranks has: tensor parallelism.
#pragma once

#include <cstdint>

namespace octavo {

// Which side of W [out_features, in_features] is cut.
enum class SliceAxis : int32_t {
  // Column-parallel. The ranks agree on nothing: each multiplies the whole x with its rows of W,
  // and its y is the whole linear's columns [begin, end): bit for bit on the CPU; elsewhere within
  // the bound, for a device may choose its kernel by out_features.
  kOutFeatures = 0,
  // Row-parallel. Each multiplies its columns of x with its columns of W; the partial products are
  // added up between the ranks (octavo/row_parallel.h).
  kInFeatures = 1,
};

// Features [begin, end) of an axis.
struct Slice {
  SliceAxis axis = SliceAxis::kOutFeatures;
  int64_t begin = 0;
  int64_t end = 0;

  int64_t features() const { return end - begin; }
  friend bool operator==(const Slice&, const Slice&) = default;
};

// How `features` are split over `world` ranks: in units of 128, or of the largest smaller power of
// two with which no rank exceeds an even share by more than an eighth. The first ranks have a unit
// more where the units do not divide, the last unit may be short, and ranks have nothing only where
// there are fewer features than ranks. Requires: 0 <= features <= 2^62, 0 <= rank < world.
Slice SplitFeatures(int64_t features, int32_t rank, int32_t world, SliceAxis axis);

}  // namespace octavo
