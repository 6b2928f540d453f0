// The fake CUDA library's extra symbol, for tests that look behind its table.
#pragma once

#include <cstdint>

namespace octavo::testing {

struct FakeCudaCounters {
  int64_t allocations = 0;       // calls of allocate that succeeded
  int64_t live_allocations = 0;  // not yet released
  int64_t waits = 0;             // calls that wait for a stream, plain copies included
  int64_t pending = 0;           // operations enqueued and not yet run
};

}  // namespace octavo::testing

// `octavo_fake_cuda_counters` of the library that OCTAVO_CUDA_LIBRARY names.
extern "C" octavo::testing::FakeCudaCounters octavo_fake_cuda_counters();
