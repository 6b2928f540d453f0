#include "kernels/cuda/timing.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <limits>

#include "kernels/cuda/device.h"
#include "kernels/cuda/memory.h"

namespace octavo::cuda {
namespace {

constexpr int kCopyRounds = 5;

// What a measurement makes on the current device, destroyed with it.
struct Handles {
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;

  Handles() = default;
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  ~Handles() {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (begin != nullptr) cudaEventDestroy(begin);
    if (end != nullptr) cudaEventDestroy(end);
    if (stream != nullptr) cudaStreamDestroy(stream);
    cudaGetLastError();
  }

  CudaStatus Make() {
    OCTAVO_RETURN_IF_FAILED(
        ToStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
    OCTAVO_RETURN_IF_FAILED(ToStatus(cudaEventCreate(&begin), "making an event"));
    return ToStatus(cudaEventCreate(&end), "making an event");
  }

  // Seconds from `begin` to `end`, once both have passed.
  CudaStatus Elapsed(double* seconds) const {
    float milliseconds = 0;
    OCTAVO_RETURN_IF_FAILED(ToStatus(cudaEventSynchronize(end), "waiting for an event"));
    OCTAVO_RETURN_IF_FAILED(
        ToStatus(cudaEventElapsedTime(&milliseconds, begin, end), "measuring time"));
    *seconds = static_cast<double>(milliseconds) * 1e-3;
    return CudaStatus::kOk;
  }
};

CudaStatus Capture(Handles* handles, CudaStatus (*enqueue)(void* context, void* stream),
                   void* context, int32_t per_graph) {
  OCTAVO_RETURN_IF_FAILED(ToStatus(
      cudaStreamBeginCapture(handles->stream, cudaStreamCaptureModeThreadLocal), "capturing"));
  CudaStatus enqueued = CudaStatus::kOk;
  for (int32_t i = 0; i < per_graph && enqueued == CudaStatus::kOk; ++i)
    enqueued = enqueue(context, handles->stream);
  const cudaError_t ended = cudaStreamEndCapture(handles->stream, &handles->graph);
  if (enqueued != CudaStatus::kOk) {  // its text says more than the capture's that it broke
    cudaGetLastError();
    return enqueued;
  }
  OCTAVO_RETURN_IF_FAILED(ToStatus(ended, "capturing"));
  return ToStatus(cudaGraphInstantiate(&handles->executable, handles->graph, 0), "making a graph");
}

CudaStatus Launch(const Handles& handles) {
  return ToStatus(cudaGraphLaunch(handles.executable, handles.stream), "launching a graph");
}

CudaStatus Record(cudaEvent_t event, cudaStream_t stream) {
  return ToStatus(cudaEventRecord(event, stream), "recording an event");
}

// Device memory of a measurement.
class Scratch {
 public:
  explicit Scratch(int32_t device) : device_(device) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { Release(device_, memory_); }
  CudaStatus Make(size_t bytes) { return Allocate(device_, bytes, &memory_); }
  void* memory() const { return memory_; }

 private:
  int32_t device_;
  void* memory_ = nullptr;
};

}  // namespace

CudaStatus TimeGraph(int32_t device, CudaStatus (*enqueue)(void* context, void* stream),
                     void* context, int32_t per_graph, int32_t replays, double* seconds) {
  *seconds = 0;
  if (per_graph < 1 || replays < 1)
    return Fail(CudaStatus::kInvalidArgument, "nothing to measure: per_graph or replays below 1");
  const DeviceScope scope(device);
  OCTAVO_RETURN_IF_FAILED(scope.status());
  Handles handles;
  OCTAVO_RETURN_IF_FAILED(handles.Make());
  OCTAVO_RETURN_IF_FAILED(Capture(&handles, enqueue, context, per_graph));
  OCTAVO_RETURN_IF_FAILED(Launch(handles));  // to warm up
  OCTAVO_RETURN_IF_FAILED(Record(handles.begin, handles.stream));
  for (int32_t i = 0; i < replays; ++i) OCTAVO_RETURN_IF_FAILED(Launch(handles));
  OCTAVO_RETURN_IF_FAILED(Record(handles.end, handles.stream));
  OCTAVO_RETURN_IF_FAILED(handles.Elapsed(seconds));
  *seconds /= static_cast<double>(per_graph) * replays;
  return CudaStatus::kOk;
}

CudaStatus TimeCopy(int32_t device, size_t bytes, double* seconds) {
  *seconds = 0;
  const DeviceScope scope(device);
  OCTAVO_RETURN_IF_FAILED(scope.status());
  Scratch from(device), to(device);
  OCTAVO_RETURN_IF_FAILED(from.Make(bytes));
  OCTAVO_RETURN_IF_FAILED(to.Make(bytes));
  Handles handles;
  OCTAVO_RETURN_IF_FAILED(handles.Make());
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round <= kCopyRounds; ++round) {
    double elapsed = 0;
    OCTAVO_RETURN_IF_FAILED(Record(handles.begin, handles.stream));
    OCTAVO_RETURN_IF_FAILED(ToStatus(cudaMemcpyAsync(to.memory(), from.memory(), bytes,
                                                     cudaMemcpyDeviceToDevice, handles.stream),
                                     "copying"));
    OCTAVO_RETURN_IF_FAILED(Record(handles.end, handles.stream));
    OCTAVO_RETURN_IF_FAILED(handles.Elapsed(&elapsed));
    if (round > 0) best = std::min(best, elapsed);  // the first one warms up
  }
  *seconds = best;
  return CudaStatus::kOk;
}

}  // namespace octavo::cuda
