// How the host starts kernels: the launch itself, tensor maps for TMA, and what a launcher decides
// by. Nothing here waits or allocates, so all of it can run while a stream is being captured.
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/error.h"

#if defined(OCTAVO_SIMT_HOST)
#include "simt_launch.h"
#else
#include <cuda.h>
#include <cuda_runtime_api.h>
#endif

namespace octavo::cuda {

struct LaunchConfig {
  uint32_t grid_x = 1;
  uint32_t grid_y = 1;
  uint32_t grid_z = 1;
  uint32_t threads = 0;     // of a block, whole warps
  size_t shared_bytes = 0;  // dynamic shared memory of a block
  uint32_t cluster = 1;     // blocks of a cluster, along x; divides grid_x
  // May start before the kernel in front of it has finished: it calls WaitForPreviousKernel.
  bool overlap = false;
};

// Facts of a device by which launchers choose kernels and tiles.
struct DeviceTraits {
  int32_t compute_capability = 0;  // 10 * major + minor
  bool has_wgmma = false;          // code for sm_90a runs here
  int32_t multiprocessors = 0;
  int32_t shared_bytes_per_block = 0;  // the most that a launch may ask for
  // Of the code that runs here, PTX included: it has what this architecture has, not what the
  // device would have besides.
  int32_t code_capability = 0;
};

// Asked of the driver once per device.
CudaStatus GetDeviceTraits(int32_t device, DeviceTraits* traits);

#if !defined(OCTAVO_SIMT_HOST)
using TensorMap = CUtensorMap;
#endif

// Describes rows x inner_bytes bytes at `base` to TMA, in boxes of box_rows x box_inner_bytes that
// are swizzled by 128 bytes; what is out of bounds is read as 0. Host memory only: the map is
// passed to kernels by value. Requires: base 16-byte aligned, row_stride_bytes a multiple of 16,
// box_inner_bytes a multiple of 16 up to 128, box_rows up to 256. kUnsupported where the driver has
// no TMA.
CudaStatus MakeTensorMap2D(TensorMap* map, const void* base, uint64_t inner_bytes, uint64_t rows,
                           uint64_t row_stride_bytes, uint32_t box_inner_bytes, uint32_t box_rows);

#if !defined(OCTAVO_SIMT_HOST)
// Launch without the parameters' types; `arguments` points to each of them.
CudaStatus LaunchUntyped(const LaunchConfig& config, void* stream, const void* kernel,
                         void** arguments);
CudaStatus MaxActiveClustersUntyped(const LaunchConfig& config, const void* kernel, int32_t* count);
#endif

// How many clusters of such a launch the current device runs at once: a grid of as many is done in
// one wave. Asked of the driver once per kernel, device and cluster size.
template <class... Params>
CudaStatus MaxActiveClusters(const LaunchConfig& config, void (*kernel)(Params...),
                             int32_t* count) {
#if defined(OCTAVO_SIMT_HOST)
  static_cast<void>(kernel);
  *count = simt::MaxActiveClusters(config.cluster);
  return CudaStatus::kOk;
#else
  return MaxActiveClustersUntyped(config, reinterpret_cast<const void*>(kernel), count);
#endif
}

// Enqueues the kernel on the stream (a cudaStream_t; null: the default one) of the current device.
template <class... Params>
CudaStatus Launch(const LaunchConfig& config, void* stream, void (*kernel)(Params...),
                  std::type_identity_t<Params>... args) {
#if defined(OCTAVO_SIMT_HOST)
  static_cast<void>(stream);
  return simt::Run({.grid_x = config.grid_x,
                    .grid_y = config.grid_y,
                    .grid_z = config.grid_z,
                    .threads = config.threads,
                    .shared_bytes = config.shared_bytes,
                    .cluster = config.cluster,
                    .overlap = config.overlap},
                   [kernel, args...] { kernel(args...); });
#else
  void* arguments[] = {static_cast<void*>(&args)..., nullptr};
  return LaunchUntyped(config, stream, reinterpret_cast<const void*>(kernel), arguments);
#endif
}

}  // namespace octavo::cuda
