#include "runtime/checks.h"

#include <optional>
#include <string>

#include "runtime/translate.h"

namespace octavo {
namespace {

Status Invalid(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

// C callers can pass any number.
std::string NameOf(DType dtype) {
  const bool known = dtype >= DType::kBool && dtype <= DType::kF8E5M2;
  return known ? std::string(DTypeName(dtype)) : std::to_string(static_cast<int32_t>(dtype));
}

// Bytes from the first element to the last; nothing where they exceed an address space.
std::optional<size_t> ExtentBytes(const ConstTensorView& view, size_t element_bytes) {
  int64_t elements = 0, bytes = 0;
  if (view.rows == 0 || view.columns == 0) return 0;
  const int64_t stride = view.rows > 1 ? view.row_stride : 0;
  if (__builtin_mul_overflow(view.rows - 1, stride, &elements) ||
      __builtin_add_overflow(elements, view.columns, &elements) ||
      __builtin_mul_overflow(elements, static_cast<int64_t>(element_bytes), &bytes)) {
    return std::nullopt;
  }
  return static_cast<size_t>(bytes);
}

}  // namespace

Status CheckView(const ConstTensorView& view, const char* name, int64_t features,
                 const char* features_name, Device device) {
  const std::optional<kernels::ElementType> type = ToKernels(view.dtype);
  if (!type)
    return Invalid(std::string(name) + " has dtype " + NameOf(view.dtype) +
                   "; expected F16, BF16 or F32");
  if (view.device != device)
    return Invalid(std::string(name) + " is on device " + ToString(view.device) +
                   ", the linear on " + ToString(device));
  if (view.rows < 0)
    return Invalid(std::string(name) + " has " + std::to_string(view.rows) + " rows");
  if (view.columns != features)
    return Invalid(std::string(name) + " has " + std::to_string(view.columns) + " columns; " +
                   features_name + " is " + std::to_string(features));
  if (view.rows > 1 && view.row_stride < view.columns)
    return Invalid(std::string(name) + " has row_stride " + std::to_string(view.row_stride) +
                   ", less than its " + std::to_string(view.columns) + " columns");
  const size_t element_bytes = kernels::ElementBytes(*type);
  const std::optional<size_t> extent = ExtentBytes(view, element_bytes);
  if (!extent)
    return {ErrorCode::kLimit, std::string(name) + " with " + std::to_string(view.rows) +
                                   " rows is larger than an address space"};
  if (*extent != 0 && view.data == nullptr) return Invalid(std::string(name) + " has no data");
  if (reinterpret_cast<uintptr_t>(view.data) % element_bytes != 0)
    return Invalid(std::string(name) + " is not aligned to its elements of " +
                   std::to_string(element_bytes) + " bytes");
  return {};
}

Result<kernels::ActivationOptions> ResolveOptions(const format::Quantization& stated,
                                                  const QuantizeOptions& options) {
  const float threshold = options.threshold.value_or(stated.threshold);
  const format::Scope scope = options.scope.value_or(stated.scope);
  const kernels::RangeOver range_over = RangeOverOf(stated.method);
  if (!(threshold >= 0))
    return Invalid("threshold is " + std::to_string(threshold) + "; expected 0 or more");
  if (range_over == kernels::RangeOver::kTensor && scope == format::Scope::kToken)
    return Invalid("scope token with method " + std::string(format::Name(stated.method)) +
                   ", whose range spans the rows of a call; use scope batch");
  return kernels::ActivationOptions{
      threshold,
      ToKernels(scope),
      ToKernels(options.row_rule.value_or(stated.row_rule)),
      ToKernels(options.activations.value_or(stated.activations)),
      range_over,
      stated.activations_via_fp16,
  };
}

Result<kernels::ParallelFor> ResolveParallel(const Execution& execution, Device device,
                                             const Backend& backend) {
  if (execution.stream != nullptr && device.type == DeviceType::kCpu)
    return Invalid("a stream was given, but the linear is on device cpu");
  if (execution.parallel.run == nullptr) return backend.DefaultParallel();
  if (execution.parallel.num_threads < 1)
    return Invalid("parallel.num_threads is " + std::to_string(execution.parallel.num_threads) +
                   "; expected 1 or more");
  return execution.parallel;
}

Result<std::span<std::byte>> TakeWorkspace(const Execution& execution, size_t bytes,
                                           const Backend& backend, AlignedBuffer* owned) {
  const std::span<std::byte> given = execution.workspace;
  if (bytes > PTRDIFF_MAX)
    return Status(ErrorCode::kLimit,
                  "so many tokens need more workspace than an address space has");
  if (given.data() == nullptr && !backend.has_host_workspace() && bytes != 0)
    return Invalid("the call needs a workspace of " + std::to_string(bytes) +
                   " bytes in the device's memory, and none was given");
  if (given.data() == nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(*owned, AlignedBuffer::Allocate(bytes));
    return owned->span();
  }
  if (given.size() < bytes)
    return Invalid("the workspace has " + std::to_string(given.size()) + " bytes, the call needs " +
                   std::to_string(bytes));
  const size_t alignment = backend.workspace_alignment();
  if (reinterpret_cast<uintptr_t>(given.data()) % alignment != 0)
    return Invalid("the workspace is not aligned to " + std::to_string(alignment) + " bytes");
  return given;
}

}  // namespace octavo
