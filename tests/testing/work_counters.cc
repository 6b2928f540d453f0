// Replaces memcmp of the program that links it. A file of its own, compiled without knowledge of
// memcmp: else the compiler would make the loop a call of itself.
#include "tests/testing/work_counters.h"

#include <atomic>

#include "tests/testing/allocations.h"

namespace {
std::atomic<uint64_t> comparisons = 0;
}  // namespace

extern "C" int memcmp(const void* a, const void* b, size_t bytes) {
  comparisons.fetch_add(1, std::memory_order_relaxed);
  const auto* x = static_cast<const unsigned char*>(a);
  const auto* y = static_cast<const unsigned char*>(b);
  for (size_t i = 0; i < bytes; ++i) {
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  }
  return 0;
}

namespace octavo::testing {

WorkCounts CountedWork() { return {NumAllocations(), comparisons}; }

}  // namespace octavo::testing
