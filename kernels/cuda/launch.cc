#include "kernels/cuda/launch.h"

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/cuda/support.h"

namespace octavo::cuda {
namespace {

// What a kernel may use without asking.
constexpr size_t kDefaultSharedBytes = 48 * 1024;

// Raises the kernel's limit on the current device, the first time that it wants as much.
CudaStatus AllowSharedBytes(const void* kernel, size_t bytes) {
  if (bytes <= kDefaultSharedBytes) return CudaStatus::kOk;
  static std::mutex mutex;
  static auto* const allowed = new std::set<std::pair<int, const void*>>;  // never destroyed
  int device = 0;
  if (const CudaStatus status = ToStatus(cudaGetDevice(&device), "cudaGetDevice");
      status != CudaStatus::kOk)
    return status;
  const std::lock_guard lock(mutex);
  if (allowed->contains({device, kernel})) return CudaStatus::kOk;
  // All that the device has beside the kernel's static part, so that once is enough for any size.
  int most = 0;
  cudaFuncAttributes attributes;
  CudaStatus status =
      ToStatus(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
               "shared memory of the device");
  if (status == CudaStatus::kOk)
    status = ToStatus(cudaFuncGetAttributes(&attributes, kernel), "attributes of a kernel");
  if (status == CudaStatus::kOk)
    status = ToStatus(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           most - static_cast<int>(attributes.sharedSizeBytes)),
                      "shared memory of a kernel");
  if (status == CudaStatus::kOk) allowed->insert({device, kernel});
  return status;
}

CudaStatus ReadTraits(int32_t device, DeviceTraits* traits) {
  const auto read = [device](cudaDeviceAttr attribute, int32_t* value) {
    return ToStatus(cudaDeviceGetAttribute(value, attribute, device), "attributes of a device");
  };
  int32_t major = 0;
  int32_t minor = 0;
  const std::pair<cudaDeviceAttr, int32_t*> wanted[] = {
      {cudaDevAttrComputeCapabilityMajor, &major},
      {cudaDevAttrComputeCapabilityMinor, &minor},
      {cudaDevAttrMultiProcessorCount, &traits->multiprocessors},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, &traits->shared_bytes_per_block},
  };
  for (const auto& [attribute, value] : wanted) {
    if (const CudaStatus status = read(attribute, value); status != CudaStatus::kOk) return status;
  }
  traits->compute_capability = 10 * major + minor;
  traits->code_capability = CodeCapability(OCTAVO_CUDA_ARCHITECTURES, traits->compute_capability);
  traits->has_wgmma = OCTAVO_HAVE_SM90A != 0 && traits->compute_capability == 90;
  return CudaStatus::kOk;
}

// cuTensorMapEncodeTiled is the driver's; asking for it here leaves the library without a link to
// libcuda, which machines without a GPU do not have.
using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

EncodeTiled FindEncodeTiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  return reinterpret_cast<EncodeTiled>(function);
}

CudaStatus CurrentTraits(DeviceTraits* traits) {
  int device = 0;
  if (const CudaStatus status = ToStatus(cudaGetDevice(&device), "cudaGetDevice");
      status != CudaStatus::kOk)
    return status;
  return GetDeviceTraits(device, traits);
}

}  // namespace

CudaStatus GetDeviceTraits(int32_t device, DeviceTraits* traits) {
  static std::mutex mutex;
  static auto* const known = new std::vector<DeviceTraits>;  // by device; never destroyed
  const std::lock_guard lock(mutex);
  if (device >= 0 && static_cast<size_t>(device) < known->size() &&
      (*known)[device].compute_capability != 0) {
    *traits = (*known)[device];
    return CudaStatus::kOk;
  }
  if (const CudaStatus status = ReadTraits(device, traits); status != CudaStatus::kOk)
    return status;
  if (known->size() <= static_cast<size_t>(device)) known->resize(device + 1);
  (*known)[device] = *traits;
  return CudaStatus::kOk;
}

CudaStatus MakeTensorMap2D(TensorMap* map, const void* base, uint64_t inner_bytes, uint64_t rows,
                           uint64_t row_stride_bytes, uint32_t box_inner_bytes, uint32_t box_rows) {
  static const EncodeTiled encode = FindEncodeTiled();
  if (encode == nullptr)
    return Fail(CudaStatus::kUnsupported, "the CUDA driver has no cuTensorMapEncodeTiled");
  const cuuint64_t sizes[2] = {inner_bytes, rows};
  const cuuint64_t strides[1] = {row_stride_bytes};
  const cuuint32_t box[2] = {box_inner_bytes, box_rows};
  const cuuint32_t element_strides[2] = {1, 1};
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(base), sizes, strides, box,
             element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    return Fail(CudaStatus::kFailed, "cuTensorMapEncodeTiled: CUDA's error " +
                                         std::to_string(result) + " for " + std::to_string(rows) +
                                         " rows of " + std::to_string(inner_bytes) + " bytes, " +
                                         std::to_string(row_stride_bytes) + " apart");
  return CudaStatus::kOk;
}

CudaStatus MaxActiveClustersUntyped(const LaunchConfig& config, const void* kernel,
                                    int32_t* count) {
  static std::mutex mutex;
  static auto* const known = new std::map<std::tuple<int, const void*, uint32_t>, int32_t>;
  int device = 0;
  if (const CudaStatus status = ToStatus(cudaGetDevice(&device), "cudaGetDevice");
      status != CudaStatus::kOk)
    return status;
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = known->try_emplace({device, kernel, config.cluster}, 0);
  if (is_new) {
    CudaStatus status = AllowSharedBytes(kernel, config.shared_bytes);
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {config.cluster, 1, 1};
    cudaLaunchConfig_t launch = {};
    launch.gridDim = {config.cluster, 1, 1};
    launch.blockDim = {config.threads, 1, 1};
    launch.dynamicSmemBytes = config.shared_bytes;
    launch.attrs = &cluster;
    launch.numAttrs = 1;
    if (status == CudaStatus::kOk)
      status = ToStatus(cudaOccupancyMaxActiveClusters(&entry->second, kernel, &launch),
                        "occupancy of a kernel");
    if (status == CudaStatus::kOk && entry->second == 0)
      status = Fail(CudaStatus::kUnsupported, "a kernel's cluster does not fit this device");
    if (status != CudaStatus::kOk) {
      known->erase(entry);
      return status;
    }
  }
  *count = entry->second;
  return CudaStatus::kOk;
}

CudaStatus LaunchUntyped(const LaunchConfig& config, void* stream, const void* kernel,
                         void** arguments) {
  if (const CudaStatus status = AllowSharedBytes(kernel, config.shared_bytes);
      status != CudaStatus::kOk)
    return status;
  DeviceTraits traits;
  if (const CudaStatus status = CurrentTraits(&traits); status != CudaStatus::kOk) return status;
  cudaLaunchAttribute attributes[2];
  unsigned num_attributes = 0;
  if (config.cluster > 1) {
    attributes[num_attributes].id = cudaLaunchAttributeClusterDimension;
    attributes[num_attributes].val.clusterDim = {config.cluster, 1, 1};
    ++num_attributes;
  }
  // In code for less than compute capability 9.0 WaitForPreviousKernel does nothing.
  if (config.overlap && traits.code_capability >= 90) {
    attributes[num_attributes].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[num_attributes].val.programmaticStreamSerializationAllowed = 1;
    ++num_attributes;
  }
  cudaLaunchConfig_t launch = {};
  launch.gridDim = {config.grid_x, config.grid_y, config.grid_z};
  launch.blockDim = {config.threads, 1, 1};
  launch.dynamicSmemBytes = config.shared_bytes;
  launch.stream = static_cast<cudaStream_t>(stream);
  launch.attrs = attributes;
  launch.numAttrs = num_attributes;
  return ToStatus(cudaLaunchKernelExC(&launch, kernel, arguments), "launch of a kernel");
}

}  // namespace octavo::cuda
