// The threads behind calls whose Execution brings none.
#pragma once

#include "octavo/kernels.h"

namespace octavo {

// Octavo's own pool, one thread for each CPU, made on first use and kept until the process ends. A
// forked child makes its own. Serial where the system has no memory for a pool. Thread-safe.
kernels::ParallelFor DefaultParallelFor();

}  // namespace octavo
