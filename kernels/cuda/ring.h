// A ring of shared-memory buffers between warps that fill them and warps that read them, each
// buffer with an mbarrier that says full and one that says empty.
#pragma once

#include <cstdint>

#include "kernels/cuda/primitives.h"

namespace octavo::cuda {

// Where one side of a ring stands: the next buffer, and the parity of its phase. Readers wait for
// `full` with the parity, writers for `empty` with the opposite one, so that the first round of a
// ring counts as empty.
struct RingPosition {
  int index = 0;
  uint32_t parity = 0;

  OCTAVO_DEVICE void Advance(int size) {
    if (++index < size) return;
    index = 0;
    parity ^= 1u;
  }
  OCTAVO_DEVICE void Skip(int count, int size) {
    for (index += count; index >= size; index -= size) parity ^= 1u;
  }
};

}  // namespace octavo::cuda
