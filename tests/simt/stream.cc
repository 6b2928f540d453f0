// The host's side of the emulation: launches, streams and what a device says of itself.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/cuda/error.h"
#include "machine.h"
#include "simt.h"

namespace octavo::cuda::simt {
namespace {

constexpr uint32_t kMaxThreads = 1024;
constexpr uint32_t kMaxCluster = 8;  // what every device with clusters can do

thread_local DeviceTraits device_traits = {.compute_capability = 90,
                                           .has_wgmma = true,
                                           .multiprocessors = 132,
                                           .shared_bytes_per_block = 227 * 1024,
                                           .code_capability = 90};

constinit thread_local Machine* running = nullptr;

struct Launched {
  LaunchShape shape;
  std::function<void()> thread;
};
// What this OS thread has launched and not begun, in order.
thread_local std::vector<Launched> stream;
thread_local bool is_deferred = false;

kernels::CudaStatus CheckShape(const LaunchShape& shape) {
  if (shape.threads == 0 || shape.threads % kWarpSize != 0 || shape.threads > kMaxThreads ||
      shape.grid_x == 0 || shape.grid_y == 0 || shape.grid_y > 65535 || shape.grid_z == 0 ||
      shape.grid_z > 65535 || shape.cluster == 0 || shape.cluster > kMaxCluster ||
      shape.grid_x % shape.cluster != 0 ||
      shape.shared_bytes > static_cast<size_t>(device_traits.shared_bytes_per_block)) {
    char text[256];
    std::snprintf(
        text, sizeof text,
        "no GPU launches a grid of %u x %u x %u blocks in clusters of %u, with %u threads "
        "and %zu bytes of shared memory",
        shape.grid_x, shape.grid_y, shape.grid_z, shape.cluster, shape.threads, shape.shared_bytes);
    return cuda::Fail(kernels::CudaStatus::kInvalidArgument, text);
  }
  return kernels::CudaStatus::kOk;
}

// On the machine above the running one, so that a thread of a kernel can run another kernel.
kernels::CudaStatus RunNow(const LaunchShape& shape, const std::function<void()>& thread) {
  thread_local std::vector<std::unique_ptr<Machine>> machines;
  thread_local size_t depth = 0;
  if (depth == machines.size()) machines.push_back(std::make_unique<Machine>());
  Machine* const outer = running;
  const Position* const outer_position = position;
  const size_t num_before = stream.size();
  running = machines[depth++].get();
  const kernels::CudaStatus status = running->Run(shape, thread);
  --depth;
  running = outer;
  position = outer_position;
  if (status == kernels::CudaStatus::kOk && shape.overlap && num_before != 0 &&
      stream.size() == num_before)
    return cuda::Fail(kernels::CudaStatus::kFailed,
                      "a kernel launched with overlap ended without WaitForPreviousKernel");
  return status;
}

}  // namespace

Machine& ThisMachine() { return *running; }

kernels::CudaStatus RunLastLaunched() {
  const Launched last = std::move(stream.back());
  stream.pop_back();
  return RunNow(last.shape, last.thread);
}

kernels::CudaStatus Run(const LaunchShape& shape, const std::function<void()>& thread) {
  if (const kernels::CudaStatus status = CheckShape(shape); status != kernels::CudaStatus::kOk)
    return status;
  if (!is_deferred) return RunNow(shape, thread);
  kernels::CudaStatus status = kernels::CudaStatus::kOk;
  if (!shape.overlap) status = Finish();
  stream.push_back({shape, thread});
  return status;
}

kernels::CudaStatus Finish() {
  while (!stream.empty()) {
    if (const kernels::CudaStatus status = RunLastLaunched(); status != kernels::CudaStatus::kOk) {
      stream.clear();
      return status;
    }
  }
  return kernels::CudaStatus::kOk;
}

void SetDeferred(bool deferred) { is_deferred = deferred; }

int32_t MaxActiveClusters(uint32_t cluster) {
  return std::max(1, device_traits.multiprocessors / static_cast<int32_t>(cluster));
}

void SetDeviceTraits(const DeviceTraits& traits) { device_traits = traits; }

}  // namespace octavo::cuda::simt

namespace octavo::cuda {

void WaitForPreviousKernel() {
  if (!simt::stream.empty()) simt::ThisMachine().WaitForPrevious();
}

CudaStatus GetDeviceTraits(int32_t device, DeviceTraits* traits) {
  if (device != 0) return Fail(CudaStatus::kUnsupported, "the emulation has one device, number 0");
  *traits = simt::device_traits;
  return CudaStatus::kOk;
}

}  // namespace octavo::cuda
