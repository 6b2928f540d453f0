// A linear's slice as the rest of the runtime uses it.
#pragma once

#include <cstdint>

#include "octavo/linear.h"

namespace octavo {

struct FeatureRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t count() const { return end - begin; }
};

// What of the module's matrix the linear is: all of it, but for the axis that is cut.
FeatureRange OutRange(const Linear& linear);
FeatureRange InRange(const Linear& linear);

// Its products are partial: a slice of in_features, whatever it covers.
bool IsRowParallel(const Linear& linear);

}  // namespace octavo
