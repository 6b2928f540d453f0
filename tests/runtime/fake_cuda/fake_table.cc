// A CUDA backend without CUDA: the table of liboctavo_cuda.so on host memory, for tests on machines
// without a GPU. OCTAVO_FAKE_CUDA changes what it pretends: no-driver, old-driver, no-device,
// old-device (cuda:1), no-memory, upload-fails, product-fails.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>

#include "kernels/cpu/parallel.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/staging.h"
#include "kernels/cuda/support.h"
#include "octavo/cuda_kernels.h"
#include "tests/runtime/fake_cuda/fake_device.h"
#include "tests/runtime/fake_cuda/fake_operations.h"

namespace octavo::testing {
namespace {

using cuda::Fail;

constexpr const char* kArchitectures = "80-real,90a-real,120";

CudaStatus DeviceCount(int32_t* count) {
  *count = 0;
  if (IsAsked("no-driver")) return Fail(CudaStatus::kFailed, cuda::WhyNoDriver(0, 13000));
  if (IsAsked("old-driver")) return Fail(CudaStatus::kFailed, cuda::WhyNoDriver(12020, 13000));
  *count = IsAsked("no-device") ? 0 : kFakeDevices;
  return CudaStatus::kOk;
}

CudaStatus DeviceInfo(int32_t device, kernels::CudaDeviceInfo* info) {
  *info = {};
  const bool old = device == 1 && IsAsked("old-device");
  const cuda::DeviceVerdict verdict = cuda::JudgeDevice(kArchitectures, old ? 70 : 86, false);
  std::snprintf(info->name, sizeof(info->name), "Fake GPU %d", device);
  std::snprintf(info->pci_bus_id, sizeof(info->pci_bus_id), "0000:0%d:00.0", device);
  std::snprintf(info->reason, sizeof(info->reason), "%s", verdict.reason.c_str());
  info->compute_major = old ? 7 : 8;
  info->compute_minor = old ? 0 : 6;
  info->multiprocessors = 10;
  info->l2_bytes = 4 << 20;
  info->total_bytes = uint64_t{8} << 30;
  info->free_bytes = uint64_t{7} << 30;
  info->driver_version = 13000;
  info->usable = verdict.usable;
  return CudaStatus::kOk;
}

CudaStatus Upload(int32_t device, const kernels::CudaUpload* pieces, size_t count,
                  const kernels::ParallelFor& parallel) {
  const std::span all(pieces, count);
  for (const kernels::CudaUpload& piece : all) {
    if (!cuda::IsPossible(piece))
      return Fail(CudaStatus::kInvalidArgument, "a piece of the upload has impossible sizes");
    const CudaStatus owned = CheckOwned(device, piece.device, cuda::DeviceBytes(piece), "a piece");
    if (owned != CudaStatus::kOk) return owned;
  }
  if (IsAsked("upload-fails")) return Fail(CudaStatus::kFailed, "the fake upload fails");
  const auto chunks = cuda::CutIntoChunks(all, parallel.num_threads);
  kernels::RunParallel(parallel, chunks.size(), [&](size_t i) {
    cuda::FillChunk(chunks[i], static_cast<std::byte*>(chunks[i].piece->device) + chunks[i].begin);
  });
  return CudaStatus::kOk;
}

CudaStatus Copy(int32_t device, void* to, const void* from, const void* on_device, size_t bytes,
                void* stream) {
  if (const CudaStatus owned = CheckOwned(device, on_device, bytes, "what is copied");
      owned != CudaStatus::kOk)
    return owned;
  if (const CudaStatus waited = StreamWait(device, stream); waited != CudaStatus::kOk)
    return waited;
  if (bytes != 0) std::memcpy(to, from, bytes);
  return CudaStatus::kOk;
}

CudaStatus CopyToDevice(int32_t device, void* to, const void* from, size_t bytes, void* stream) {
  return Copy(device, to, from, to, bytes, stream);
}

CudaStatus CopyToHost(int32_t device, void* to, const void* from, size_t bytes, void* stream) {
  return Copy(device, to, from, from, bytes, stream);
}

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

CudaStatus TimeGraph(int32_t device, CudaStatus (*enqueue)(void* context, void* stream),
                     void* context, int32_t per_graph, int32_t replays, double* seconds) {
  *seconds = 0;
  void* stream = nullptr;
  if (const CudaStatus made = StreamCreate(device, &stream); made != CudaStatus::kOk) return made;
  const auto begin = std::chrono::steady_clock::now();
  CudaStatus status = CudaStatus::kOk;
  for (int32_t i = 0; i < per_graph * replays && status == CudaStatus::kOk; ++i) {
    status = enqueue(context, stream);
    if (status == CudaStatus::kOk) status = StreamWait(device, stream);
  }
  *seconds = SecondsSince(begin) / (per_graph * replays);
  StreamDestroy(device, stream);
  return status;
}

CudaStatus TimeCopy(int32_t device, size_t bytes, double* seconds) {
  void *from = nullptr, *to = nullptr;
  CudaStatus status = Allocate(device, bytes, &from);
  if (status == CudaStatus::kOk) status = Allocate(device, bytes, &to);
  if (status == CudaStatus::kOk) {
    const auto begin = std::chrono::steady_clock::now();
    std::memcpy(to, from, bytes);
    *seconds = SecondsSince(begin);
  }
  Release(device, from);
  Release(device, to);
  return status;
}

// As the real library: a call begins without an error text.
template <auto kFunction>
struct Border;
template <typename... Parameters, CudaStatus (*kFunction)(Parameters...)>
struct Border<kFunction> {
  static CudaStatus Call(Parameters... parameters) {
    cuda::ClearError();
    return kFunction(parameters...);
  }
};

constexpr kernels::CudaTable kTable = {
    .version = kernels::kCudaTableVersion,
    .description = "fake",
    .last_error = cuda::LastError,
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
    .quantize = Border<Quantize>::Call,
    .multiply = Border<Multiply>::Call,
    .forward = Border<Forward>::Call,
    .accumulate = Border<Accumulate>::Call,
    .product_name = ProductName,
};

}  // namespace
}  // namespace octavo::testing

[[gnu::visibility("default")]] const octavo::kernels::CudaTable* octavo_cuda_table() {
  return &octavo::testing::kTable;
}

[[gnu::visibility("default")]] octavo::testing::FakeCudaCounters octavo_fake_cuda_counters() {
  return octavo::testing::Counters();
}
