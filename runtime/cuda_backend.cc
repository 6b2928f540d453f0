// A CUDA device behind Backend: the linear uploaded once, operations enqueued on the caller's
// stream.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/backend.h"
#include "runtime/cuda.h"
#include "runtime/cuda_memory.h"
#include "runtime/cuda_upload.h"
#include "runtime/default_pool.h"
#include "runtime/state.h"
#include "runtime/translate.h"

namespace octavo {
namespace {

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const kernels::CudaTable& table) : table_(table) {}

  size_t workspace_alignment() const override { return kCudaAlignment; }
  // Device memory is the caller's: an allocation in a call could not be captured in a graph.
  bool has_host_workspace() const override { return false; }
  kernels::ParallelFor DefaultParallel() const override { return kernels::SerialFor(); }

  Status Adopt(PreparedLinear::State* state) const override {
    return UploadLinear(table_, state).WithContext(ToString(state->device));
  }

  size_t QuantizeWorkspaceBytes(const PreparedLinear::State& linear, size_t tokens) const override {
    return tokens == 0 ? 0 : table_.quantize_workspace_bytes(tokens, linear.view.in_features);
  }

  size_t MultiplyWorkspaceBytes(const PreparedLinear::State& linear, size_t tokens,
                                const kernels::ParallelFor&) const override {
    return tokens == 0 ? 0
                       : table_.multiply_workspace_bytes(linear.device.index, tokens, linear.cuda);
  }

  Status Quantize(const PreparedLinear::State& linear, const kernels::ActivationView& x,
                  const kernels::ActivationOptions& options, const Call& call,
                  QuantizedActivations::State* quantized) const override {
    quantized->quantized.x = x;
    quantized->quantized.options = options;
    quantized->stream = call.stream;
    quantized->device_memory = linear.device_memory;
    if (x.tokens == 0) return {};
    return Translate(
        linear.device,
        table_.quantize(linear.device.index, x, options, linear.cuda.kept, call.workspace.data(),
                        call.workspace.size(), call.stream, &quantized->on_cuda));
  }

  Status Multiply(const QuantizedActivations::State& quantized, const PreparedLinear::State& linear,
                  const kernels::OutputView& y, const Call& call) const override {
    if (quantized.quantized.x.tokens == 0) return {};
    return Translate(linear.device,
                     table_.multiply(linear.device.index, quantized.on_cuda, linear.cuda, y,
                                     call.workspace.data(), call.workspace.size(), call.stream));
  }

  std::optional<Status> Forward(const PreparedLinear::State& linear,
                                const kernels::ActivationView& x,
                                const kernels::ActivationOptions& options,
                                const kernels::OutputView& y, const Call& call) const override {
    if (x.tokens == 0) return Status();
    return Translate(linear.device,
                     table_.forward(linear.device.index, x, options, linear.cuda, y,
                                    call.workspace.data(), call.workspace.size(), call.stream));
  }

  Result<std::vector<int64_t>> OutlierColumns(
      const QuantizedActivations::State& quantized) const override {
    int32_t count = 0;
    OCTAVO_RETURN_IF_ERROR(CopyToHost(quantized, &count, quantized.on_cuda.num_outlier_columns, 1));
    std::vector<int32_t> columns(static_cast<size_t>(count));
    OCTAVO_RETURN_IF_ERROR(
        CopyToHost(quantized, columns.data(), quantized.on_cuda.outlier_columns, columns.size()));
    return std::vector<int64_t>(columns.begin(), columns.end());
  }

  // In scope token the device notes no entries: the CPU's kernels count them in a copy of x.
  Result<int64_t> OutlierEntries(const QuantizedActivations::State& quantized) const override {
    const kernels::ActivationView& x = quantized.quantized.x;
    const kernels::ActivationOptions& options = quantized.quantized.options;
    if (options.scope == kernels::Scope::kBatch) {
      OCTAVO_ASSIGN_OR_RETURN(const std::vector<int64_t> columns, OutlierColumns(quantized));
      return static_cast<int64_t>(columns.size() * x.tokens);
    }
    kernels::ActivationView copy = x;
    const size_t elements = (x.tokens - 1) * x.row_stride + x.in_features;
    const size_t x_bytes = elements * kernels::ElementBytes(x.type);
    OCTAVO_ASSIGN_OR_RETURN(const AlignedBuffer x_host, AlignedBuffer::Allocate(x_bytes));
    OCTAVO_RETURN_IF_ERROR(CopyToHost(quantized, x_host.as<std::byte>(),
                                      static_cast<const std::byte*>(x.data), x_bytes));
    copy.data = x_host.span().data();
    const size_t bytes = kernels::QuantizeWorkspaceBytes(x.tokens, x.in_features, options);
    OCTAVO_ASSIGN_OR_RETURN(const AlignedBuffer workspace, AlignedBuffer::Allocate(bytes));
    std::string why;
    const kernels::CpuKernels* kernels = kernels::FindCpuKernels("auto", &why);
    if (kernels == nullptr) return Status(ErrorCode::kUnsupported, why);
    kernels::QuantizedActivations counted;
    OCTAVO_RETURN_IF_ERROR(ToStatus(kernels::QuantizeActivations(
        *kernels, copy, options, *quantized.kept_index, DefaultParallelFor(),
        workspace.span().data(), bytes, &counted)));
    return MarkedEntries(counted);
  }

 private:
  Status Translate(Device device, kernels::CudaStatus status) const {
    if (status == kernels::CudaStatus::kOk) return {};
    return ToStatus(table_, status).WithContext(ToString(device));
  }

  template <typename T>
  Status CopyToHost(const QuantizedActivations::State& quantized, T* to, const T* from,
                    size_t count) const {
    if (count == 0) return {};
    return Translate(quantized.device, table_.copy_to_host(quantized.device.index, to, from,
                                                           count * sizeof(T), quantized.stream));
  }

  const kernels::CudaTable& table_;
};

Status CannotUse(Device device, const std::string& why) {
  return {ErrorCode::kUnsupported, "cannot use CUDA device " + ToString(device) + ": " + why};
}

}  // namespace

Result<const Backend*> FindCudaBackend(Device device) {
  const CudaDevices& list = ListCudaDevices();
  if (list.devices.empty()) return CannotUse(device, list.why_none);
  const size_t count = list.devices.size();
  if (device.index < 0 || static_cast<size_t>(device.index) >= count)
    return CannotUse(device, "this machine has " + std::to_string(count) + ", from cuda:0 on");
  const kernels::CudaDeviceInfo& info = list.devices[static_cast<size_t>(device.index)];
  if (!info.usable) return CannotUse(device, std::string(info.name) + ", " + info.reason);
  static const CudaBackend& backend = *new CudaBackend(*CudaLibrary(nullptr));
  return &backend;
}

}  // namespace octavo
