// What the calls that multiply have in common.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/kernels.h"
#include "octavo/linear.h"
#include "octavo/result.h"
#include "octavo/tensor_view.h"
#include "runtime/backend.h"
#include "runtime/checks.h"
#include "runtime/state.h"

namespace octavo {

// Bytes that no memory has: what sizes become once they overflow.
inline constexpr size_t kImpossible = SIZE_MAX;
size_t Sum(size_t a, size_t b);
// So that what comes after is aligned too.
size_t RoundUp(size_t bytes, size_t alignment);

const Backend& BackendOf(const PreparedLinear& linear);

// Adds the linear's name. The message's context is made only where there is a message.
Status InLinear(Status status, const PreparedLinear& linear);

kernels::ActivationView ToKernels(const ConstTensorView& x);
kernels::OutputView ToOutput(const TensorView& y);

// A call that quantizes, checked. Errors: kInvalidArgument, kLimit.
struct QuantizeCall {
  kernels::ActivationView x;
  kernels::ActivationOptions options;
  kernels::ParallelFor parallel;
};
Result<QuantizeCall> CheckQuantize(const PreparedLinear& linear, const ConstTensorView& x,
                                   const QuantizeOptions& options, const Execution& execution);

// kInvalidArgument where x was quantized for a linear with other operands than this one's.
Status CheckFits(const QuantizedActivations::State& x, const PreparedLinear& linear);

// Makes `quantized` activations for this linear, but for what its backend fills in.
void SetLinear(const PreparedLinear& linear, QuantizedActivations::State* quantized);

}  // namespace octavo
