// What a call is given, checked once at the border: views, options, threads, memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "octavo/kernels.h"
#include "octavo/linear.h"
#include "octavo/result.h"
#include "octavo/tensor_view.h"
#include "runtime/aligned_buffer.h"
#include "runtime/backend.h"

namespace octavo {

// `view` can be read as [rows, features] on `device`. `name` and `features_name` are for the
// message. Errors: kInvalidArgument, kLimit (a view larger than the address space).
Status CheckView(const ConstTensorView& view, const char* name, int64_t features,
                 const char* features_name, Device device);

// The file's options with the call's overrides. Errors: kInvalidArgument.
Result<kernels::ActivationOptions> ResolveOptions(const format::Quantization& stated,
                                                  const QuantizeOptions& options);

// The call's threads, or the backend's. Errors: kInvalidArgument (num_threads below 1; a stream on
// a CPU).
Result<kernels::ParallelFor> ResolveParallel(const Execution& execution, Device device,
                                             const Backend& backend);

// `bytes` bytes for one call: the caller's if there are any, else from `owned`, which it fills,
// where the backend works in host memory. Errors: kInvalidArgument (none where one is needed, too
// small, not aligned), kLimit.
Result<std::span<std::byte>> TakeWorkspace(const Execution& execution, size_t bytes,
                                           const Backend& backend, AlignedBuffer* owned);

}  // namespace octavo
