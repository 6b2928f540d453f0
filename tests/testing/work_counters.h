// Counts work instead of timing it: allocations, and comparisons of memory, which is how names are
// compared.
#pragma once

#include <cstdint>

namespace octavo::testing {

struct WorkCounts {
  uint64_t allocations = 0;
  uint64_t comparisons = 0;
};
WorkCounts CountedWork();  // of the program since it began

}  // namespace octavo::testing
