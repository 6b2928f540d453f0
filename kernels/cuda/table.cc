// The one symbol of liboctavo_cuda.so.
#include <cuda_runtime_api.h>

#include <new>
#include <string>

#include "kernels/cuda/device.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/support.h"
#include "kernels/cuda/timing.h"
#include "octavo/cuda_kernels.h"

namespace octavo::cuda {
namespace {

// The border of the library: a call begins without an error text, and no exception passes.
template <auto kFunction>
struct Border;
template <typename... Parameters, CudaStatus (*kFunction)(Parameters...)>
struct Border<kFunction> {
  static CudaStatus Call(Parameters... parameters) {
    ClearError();
    try {
      return kFunction(parameters...);
    } catch (const std::bad_alloc&) {
      return Fail(CudaStatus::kOutOfMemory, "out of memory");  // short enough to need none
    }
  }
};

// The same for what is enqueued on the current device.
template <auto kFunction>
struct OnDevice;
template <typename... Parameters, CudaStatus (*kFunction)(int32_t, Parameters...)>
struct OnDevice<kFunction> {
  static CudaStatus Enqueue(int32_t device, Parameters... parameters) {
    const DeviceScope scope(device);
    if (scope.status() != CudaStatus::kOk) return scope.status();
    return kFunction(device, parameters...);
  }
  static constexpr auto Call = Border<Enqueue>::Call;
};

const char* Description() {
  static const std::string text = "CUDA " + CudaVersionText(CUDART_VERSION) + "; " +
                                  DescribeArchitectures(OCTAVO_CUDA_ARCHITECTURES);
  return text.c_str();
}

kernels::CudaTable MakeTable() {
  return {
      .version = kernels::kCudaTableVersion,
      .description = Description(),
      .last_error = LastError,
      .device_count = Border<DeviceCount>::Call,
      .device_info = Border<DeviceInfo>::Call,
      .allocate = Border<Allocate>::Call,
      .release = Release,
      .upload = Border<Upload>::Call,
      .copy_to_device = Border<CopyToDevice>::Call,
      .copy_to_host = Border<CopyToHost>::Call,
      .stream_create = Border<StreamCreate>::Call,
      .stream_destroy = StreamDestroy,
      .stream_wait = Border<StreamWait>::Call,
      .time_graph = Border<TimeGraph>::Call,
      .time_copy = Border<TimeCopy>::Call,
      .quantize_workspace_bytes = QuantizeWorkspaceBytes,
      .multiply_workspace_bytes = MultiplyWorkspaceBytes,
      .quantize = OnDevice<Quantize>::Call,
      .multiply = OnDevice<Multiply>::Call,
      .forward = OnDevice<Forward>::Call,
      .accumulate = OnDevice<Accumulate>::Call,
      .product_name = ProductName,
  };
}

}  // namespace
}  // namespace octavo::cuda

[[gnu::visibility("default")]] const octavo::kernels::CudaTable* octavo_cuda_table() {
  static const octavo::kernels::CudaTable table = octavo::cuda::MakeTable();
  return &table;
}
