// octavo.h: linears and activations.
#include "runtime/c_linear.h"

#include <algorithm>
#include <optional>
#include <vector>

using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;
using octavo::c_api::Guard;
using octavo::c_api::Invalid;
using octavo::c_api::NothingReserved;
using octavo::c_api::NotNull;
using octavo::c_api::ReadOptions;
using octavo::c_api::ToExecution;
using octavo::c_api::ToQuantizeOptions;
using octavo::c_api::ToView;
using octavo::c_api::WorkspaceBytes;

struct octavo_quantized {
  octavo::QuantizedActivations quantized;
};

static_assert(int(octavo::DType::kF16) == OCTAVO_F16);
static_assert(int(octavo::DType::kBF16) == OCTAVO_BF16);
static_assert(int(octavo::DType::kF32) == OCTAVO_F32);
static_assert(int(octavo::DeviceType::kCpu) == OCTAVO_CPU);
static_assert(int(octavo::DeviceType::kCuda) == OCTAVO_CUDA);
static_assert(int(octavo::format::Scope::kBatch) + 1 == OCTAVO_SCOPE_BATCH);
static_assert(int(octavo::format::Scope::kToken) + 1 == OCTAVO_SCOPE_TOKEN);
static_assert(int(octavo::format::RowRule::kInlierColumns) + 1 == OCTAVO_INLIER_COLUMNS);
static_assert(int(octavo::format::RowRule::kBelowThreshold) + 1 == OCTAVO_BELOW_THRESHOLD);
static_assert(int(octavo::format::Activations::kAsymmetric) + 1 == OCTAVO_ASYMMETRIC);
static_assert(int(octavo::format::Activations::kSymmetric) + 1 == OCTAVO_SYMMETRIC);
static_assert(int(octavo::SliceAxis::kOutFeatures) + 1 == OCTAVO_SLICE_OUT_FEATURES);
static_assert(int(octavo::SliceAxis::kInFeatures) + 1 == OCTAVO_SLICE_IN_FEATURES);

namespace octavo::c_api {

Result<QuantizeOptions> ToQuantizeOptions(const octavo_forward_options& options) {
  QuantizeOptions result;
  if (options.override_threshold != 0) {
    result.threshold = options.threshold;
  } else if (options.threshold != 0) {
    return Invalid("a threshold without override_threshold");
  }
  OCTAVO_RETURN_IF_ERROR(ReadChoice(options.scope, "scope", &result.scope));
  OCTAVO_RETURN_IF_ERROR(ReadChoice(options.row_rule, "row_rule", &result.row_rule));
  OCTAVO_RETURN_IF_ERROR(ReadChoice(options.activations, "activations", &result.activations));
  return result;
}

Execution ToExecution(const octavo_forward_options& options) {
  Execution execution;
  if (options.parallel_for != nullptr)
    execution.parallel = {options.parallel_for, options.parallel_context, options.num_threads};
  if (options.workspace != nullptr)
    execution.workspace = {static_cast<std::byte*>(options.workspace), options.workspace_bytes};
  execution.stream = options.stream;
  return execution;
}

Status NothingReserved(const octavo_tensor& tensor, const char* name) {
  return tensor.reserved == 0 ? Status() : Invalid(std::string(name) + ".reserved is not 0");
}

TensorView ToView(const octavo_tensor& tensor) {
  return {tensor.data,       static_cast<DType>(tensor.dtype),
          tensor.rows,       tensor.columns,
          tensor.row_stride, {static_cast<DeviceType>(tensor.device_type), tensor.device_index}};
}

}  // namespace octavo::c_api

namespace {

// octavo_multiply: the activations are quantized already.
Status NoQuantizeOptions(const octavo_forward_options& options) {
  const bool any = options.override_threshold != 0 || options.threshold != 0 ||
                   options.scope != 0 || options.row_rule != 0 || options.activations != 0;
  return any ? Invalid("octavo_multiply takes no options of quantizing") : Status();
}

Result<octavo::Linear> SliceOf(octavo::Linear whole, const octavo_prepare_options& options) {
  if (options.reserved != 0 || options.reserved2 != 0) return Invalid("options.reserved is not 0");
  std::optional<octavo::SliceAxis> axis;
  OCTAVO_RETURN_IF_ERROR(octavo::c_api::ReadChoice(options.slice_axis, "slice_axis", &axis));
  if (axis) return whole.slice(options.slice_rank, options.slice_world, *axis);
  if (options.slice_rank != 0 || options.slice_world != 0)
    return Invalid("a slice_rank or slice_world without slice_axis");
  return whole;
}

}  // namespace

namespace octavo::c_api {

Result<octavo_linear*> PrepareFor(Linear linear, const octavo_prepare_options* options) {
  OCTAVO_ASSIGN_OR_RETURN(const octavo_prepare_options known, ReadOptions(options));
  const Device device{static_cast<DeviceType>(known.device_type), known.device_index};
  OCTAVO_ASSIGN_OR_RETURN(const Linear part, SliceOf(std::move(linear), known));
  OCTAVO_ASSIGN_OR_RETURN(
      PreparedLinear prepared,
      Prepare(part, device, {known.cpu == nullptr ? "" : known.cpu, known.check_digests != 0}));
  return new octavo_linear{std::move(prepared)};
}

}  // namespace octavo::c_api

// ---- Linears ----

octavo_status octavo_linear_prepare(octavo_model* model, const char* name, int64_t expert,
                                    const octavo_prepare_options* options, octavo_linear** linear) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(model, "model"));
    OCTAVO_RETURN_IF_ERROR(NotNull(name, "name"));
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    *linear = nullptr;
    OCTAVO_ASSIGN_OR_RETURN(octavo::Linear named, model->model.linear(name, expert));
    OCTAVO_ASSIGN_OR_RETURN(*linear, octavo::c_api::PrepareFor(std::move(named), options));
    return {};
  });
}

void octavo_linear_retain(octavo_linear* linear) { octavo::c_api::Retain(linear); }
void octavo_linear_release(octavo_linear* linear) { octavo::c_api::Release(linear); }

octavo_status octavo_linear_features(const octavo_linear* linear, int64_t* in_features,
                                     int64_t* out_features) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    if (in_features != nullptr) *in_features = linear->prepared.in_features();
    if (out_features != nullptr) *out_features = linear->prepared.out_features();
    return {};
  });
}

octavo_status octavo_linear_bytes_read(const octavo_linear* linear, uint64_t* bytes) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    OCTAVO_RETURN_IF_ERROR(NotNull(bytes, "bytes"));
    *bytes = linear->prepared.bytes_read();
    return {};
  });
}

const char* octavo_linear_backend(const octavo_linear* linear) {
  return linear == nullptr ? "" : linear->prepared.backend();
}

octavo_status octavo_quantize_workspace(const octavo_linear* linear, int64_t tokens,
                                        const octavo_forward_options* options, size_t* bytes) {
  return WorkspaceBytes(linear, tokens, options, bytes,
                        [&](const octavo::PreparedLinear& prepared, const octavo::Execution&) {
                          return octavo::QuantizeWorkspaceBytes(prepared, tokens);
                        });
}

octavo_status octavo_multiply_workspace(const octavo_linear* linear, int64_t tokens,
                                        const octavo_forward_options* options, size_t* bytes) {
  return WorkspaceBytes(
      linear, tokens, options, bytes,
      [&](const octavo::PreparedLinear& prepared, const octavo::Execution& execution) {
        return octavo::MultiplyWorkspaceBytes(prepared, tokens, execution);
      });
}

octavo_status octavo_forward_workspace(const octavo_linear* linear, int64_t tokens,
                                       const octavo_forward_options* options, size_t* bytes) {
  return WorkspaceBytes(
      linear, tokens, options, bytes,
      [&](const octavo::PreparedLinear& prepared, const octavo::Execution& execution) {
        return octavo::ForwardWorkspaceBytes(prepared, tokens, execution);
      });
}

octavo_status octavo_forward(const octavo_linear* linear, const octavo_tensor* x,
                             const octavo_tensor* y, const octavo_forward_options* options) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    OCTAVO_RETURN_IF_ERROR(NotNull(x, "x"));
    OCTAVO_RETURN_IF_ERROR(NotNull(y, "y"));
    OCTAVO_RETURN_IF_ERROR(NothingReserved(*x, "x"));
    OCTAVO_RETURN_IF_ERROR(NothingReserved(*y, "y"));
    OCTAVO_ASSIGN_OR_RETURN(const octavo_forward_options known, ReadOptions(options));
    OCTAVO_ASSIGN_OR_RETURN(const octavo::QuantizeOptions how, ToQuantizeOptions(known));
    return octavo::Forward(linear->prepared, ToView(*x), ToView(*y), how, ToExecution(known));
  });
}

octavo_status octavo_quantize(const octavo_linear* linear, const octavo_tensor* x,
                              const octavo_forward_options* options, octavo_quantized** quantized) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    OCTAVO_RETURN_IF_ERROR(NotNull(x, "x"));
    OCTAVO_RETURN_IF_ERROR(NotNull(quantized, "quantized"));
    *quantized = nullptr;
    OCTAVO_RETURN_IF_ERROR(NothingReserved(*x, "x"));
    OCTAVO_ASSIGN_OR_RETURN(const octavo_forward_options known, ReadOptions(options));
    OCTAVO_ASSIGN_OR_RETURN(const octavo::QuantizeOptions how, ToQuantizeOptions(known));
    OCTAVO_ASSIGN_OR_RETURN(
        octavo::QuantizedActivations made,
        octavo::Quantize(linear->prepared, ToView(*x), how, ToExecution(known)));
    *quantized = new octavo_quantized{std::move(made)};
    return {};
  });
}

void octavo_quantized_release(octavo_quantized* quantized) { delete quantized; }

octavo_status octavo_multiply(const octavo_quantized* quantized, const octavo_linear* linear,
                              const octavo_tensor* y, const octavo_forward_options* options) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(quantized, "quantized"));
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    OCTAVO_RETURN_IF_ERROR(NotNull(y, "y"));
    OCTAVO_RETURN_IF_ERROR(NothingReserved(*y, "y"));
    OCTAVO_ASSIGN_OR_RETURN(const octavo_forward_options known, ReadOptions(options));
    OCTAVO_RETURN_IF_ERROR(NoQuantizeOptions(known));
    return octavo::Multiply(quantized->quantized, linear->prepared, ToView(*y), ToExecution(known));
  });
}

octavo_status octavo_outlier_columns(const octavo_quantized* quantized, int64_t* columns,
                                     int64_t capacity, int64_t* count) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(quantized, "quantized"));
    OCTAVO_RETURN_IF_ERROR(NotNull(count, "count"));
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<int64_t> all, quantized->quantized.outlier_columns());
    *count = static_cast<int64_t>(all.size());
    for (int64_t i = 0; columns != nullptr && i < std::min(capacity, *count); ++i)
      columns[i] = all[static_cast<size_t>(i)];
    return {};
  });
}
