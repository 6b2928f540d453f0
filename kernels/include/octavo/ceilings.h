// What a CPU can do at most, measured by loops that do nothing else: the yardsticks of `octavo
// bench`.
#pragma once

#include <cstddef>

#include "octavo/kernels.h"

namespace octavo::kernels {

// int8 operations per second (a multiplication and an addition are two) of the instructions that
// `kernels` may use, on registers alone, by all threads of `parallel` at once: the best of about
// `seconds`. 0 where there is no such loop: the portable kernels.
double MeasureInt8Peak(const CpuKernels& kernels, const ParallelFor& parallel, double seconds);

// Bytes per second at which all threads of `parallel` read `memory`: the best of several passes of
// plain, prefetching and wide loads. Meant for memory that no cache holds, touched before by the
// caller. `bytes`: at least 1 MiB for each thread.
double MeasureReadBandwidth(const void* memory, size_t bytes, const ParallelFor& parallel);

}  // namespace octavo::kernels
