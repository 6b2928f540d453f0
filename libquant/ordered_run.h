// Many threads work on numbered items; each item's result is committed in the order of the numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/result.h"

namespace octavo::quant {

// What happens to one item. `worker` is below num_threads and belongs to one thread.
class ItemStages {
 public:
  virtual ~ItemStages() = default;
  // On any thread, in any order.
  virtual Status Compute(size_t item, size_t worker) = 0;
  // One at a time, the first item first, each after the one before.
  virtual Status Commit(size_t item, size_t worker) = 0;
  // After the commit, again on any thread in any order.
  virtual Status Finish(size_t item, size_t worker) = 0;
};

// Runs the items from first_item on; num_threads >= 1. Holds at most one item for each thread. The
// first error stops everything: of several the one of the lowest item is returned, so that it does
// not depend on the threads. Errors of its own: kLimit (memory, threads).
Status RunOrdered(size_t num_items, int32_t num_threads, ItemStages* stages, size_t first_item = 0);

}  // namespace octavo::quant
