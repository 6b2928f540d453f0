#include "kernels/cuda/memory.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/staging.h"

namespace octavo::cuda {
namespace {

constexpr size_t kNumSlots = 24;  // more than threads that fill them, so that copies never pause
constexpr size_t kNumStreams = 2;
constexpr int32_t kMaxDevices = 128;

cudaStream_t AsStream(void* stream) { return static_cast<cudaStream_t>(stream); }

// A pinned buffer. A thread takes it, fills it, enqueues its copy and gives it back; whoever takes
// it next waits for that copy.
struct Slot {
  std::byte* memory = nullptr;
  cudaEvent_t copied = nullptr;
  cudaStream_t stream = nullptr;
};

// The pinned buffers of one device. Made once and never destroyed: at exit the driver may be gone.
class StagingPool {
 public:
  // On the current device. Null with *error where memory or driver refuse.
  static std::unique_ptr<StagingPool> Make(cudaError_t* error) {
    auto pool = std::make_unique<StagingPool>();
    *error = pool->Init();
    if (*error == cudaSuccess) return pool;
    pool->Destroy();
    return nullptr;
  }

  // The slot that has rested longest; null with *error. Every call is followed by Give.
  Slot* Take(cudaError_t* error) {
    Slot* slot = nullptr;
    {
      std::unique_lock lock(mutex_);
      given_back_.wait(lock, [&] { return !resting_.empty(); });
      slot = resting_.front();
      resting_.pop_front();
    }
    *error = cudaEventSynchronize(slot->copied);
    return slot;
  }

  void Give(Slot* slot) {
    {
      const std::lock_guard lock(mutex_);
      resting_.push_back(slot);
    }
    given_back_.notify_one();
  }

  // Waits for every copy that was enqueued.
  cudaError_t Wait() const {
    cudaError_t first = cudaSuccess;
    for (const cudaStream_t stream : streams_) {
      const cudaError_t error = cudaStreamSynchronize(stream);
      if (first == cudaSuccess) first = error;
    }
    return first;
  }

 private:
  cudaError_t Init() {
    for (cudaStream_t& stream : streams_) {
      const cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
      if (error != cudaSuccess) return error;
    }
    const cudaError_t error =
        cudaHostAlloc(&memory_, kNumSlots * kStagingBytes, cudaHostAllocDefault);
    if (error != cudaSuccess) return error;
    for (size_t i = 0; i < kNumSlots; ++i) {
      Slot& slot = slots_[i];
      slot.memory = static_cast<std::byte*>(memory_) + i * kStagingBytes;
      slot.stream = streams_[i % kNumStreams];
      const cudaError_t made = cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming);
      if (made != cudaSuccess) return made;
      resting_.push_back(&slot);
    }
    return cudaSuccess;
  }

  void Destroy() {
    for (const Slot& slot : slots_) {
      if (slot.copied != nullptr) cudaEventDestroy(slot.copied);
    }
    for (const cudaStream_t stream : streams_) {
      if (stream != nullptr) cudaStreamDestroy(stream);
    }
    if (memory_ != nullptr) cudaFreeHost(memory_);
  }

  void* memory_ = nullptr;
  std::array<cudaStream_t, kNumStreams> streams_ = {};
  std::array<Slot, kNumSlots> slots_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::deque<Slot*> resting_;
};

constinit std::array<std::atomic<StagingPool*>, kMaxDevices> pools = {};
constinit std::mutex making;

// Requires: the device is the current one.
CudaStatus PoolOf(int32_t device, StagingPool** pool) {
  if (device < 0 || device >= kMaxDevices)
    return Fail(CudaStatus::kUnsupported, "device numbers end at " + std::to_string(kMaxDevices));
  std::atomic<StagingPool*>& place = pools[static_cast<size_t>(device)];
  *pool = place.load(std::memory_order_acquire);
  if (*pool != nullptr) return CudaStatus::kOk;
  const std::lock_guard lock(making);
  *pool = place.load(std::memory_order_relaxed);
  if (*pool != nullptr) return CudaStatus::kOk;
  cudaError_t error = cudaSuccess;
  *pool = StagingPool::Make(&error).release();
  OCTAVO_RETURN_IF_FAILED(ToStatus(error, "making pinned buffers"));
  place.store(*pool, std::memory_order_release);
  return CudaStatus::kOk;
}

// One upload. Its threads share the first error, and do nothing more once there is one.
class UploadRun {
 public:
  UploadRun(int32_t device, StagingPool* pool) : device_(device), pool_(*pool) {}

  void CopyChunk(const Chunk& chunk) {
    if (error_.load(std::memory_order_relaxed) != cudaSuccess) return;
    const DeviceScope scope(device_);
    cudaError_t error = scope.error();
    if (error == cudaSuccess) {
      Slot* slot = pool_.Take(&error);
      if (error == cudaSuccess) error = Move(chunk, *slot);
      pool_.Give(slot);
    }
    if (error == cudaSuccess) return;
    cudaGetLastError();
    cudaError_t none = cudaSuccess;
    error_.compare_exchange_strong(none, error);
  }

  // Also after an error: what was enqueued still writes to the caller's memory.
  CudaStatus Wait() {
    const cudaError_t waited = pool_.Wait();
    const cudaError_t error = error_.load();
    return ToStatus(error != cudaSuccess ? error : waited, "copying to the device");
  }

 private:
  static cudaError_t Move(const Chunk& chunk, const Slot& slot) {
    FillChunk(chunk, slot.memory);
    auto* to = static_cast<std::byte*>(chunk.piece->device) + chunk.begin;
    const cudaError_t error =
        cudaMemcpyAsync(to, slot.memory, chunk.bytes, cudaMemcpyHostToDevice, slot.stream);
    return error != cudaSuccess ? error : cudaEventRecord(slot.copied, slot.stream);
  }

  const int32_t device_;
  StagingPool& pool_;
  std::atomic<cudaError_t> error_{cudaSuccess};
};

CudaStatus Copy(int32_t device, void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                void* stream) {
  const DeviceScope scope(device);
  OCTAVO_RETURN_IF_FAILED(scope.status());
  OCTAVO_RETURN_IF_FAILED(
      ToStatus(cudaMemcpyAsync(to, from, bytes, kind, AsStream(stream)), "copying"));
  return ToStatus(cudaStreamSynchronize(AsStream(stream)), "copying");
}

}  // namespace

CudaStatus Allocate(int32_t device, size_t bytes, void** memory) {
  *memory = nullptr;
  const DeviceScope scope(device);
  OCTAVO_RETURN_IF_FAILED(scope.status());
  const cudaError_t error = cudaMalloc(memory, bytes);
  if (error != cudaErrorMemoryAllocation) return ToStatus(error, "allocating device memory");
  cudaGetLastError();
  size_t free_bytes = 0, total_bytes = 0;
  cudaMemGetInfo(&free_bytes, &total_bytes);
  return Fail(CudaStatus::kOutOfMemory,
              "cannot allocate " + std::to_string(bytes) + " bytes on the device, which has " +
                  std::to_string(free_bytes) + " bytes free of " + std::to_string(total_bytes));
}

void Release(int32_t device, void* memory) noexcept {
  if (memory == nullptr) return;
  const DeviceScope scope(device);
  if (scope.error() == cudaSuccess) cudaFree(memory);
  cudaGetLastError();
}

CudaStatus Upload(int32_t device, const kernels::CudaUpload* pieces, size_t count,
                  const kernels::ParallelFor& parallel) {
  const std::span all(pieces, count);
  if (!std::all_of(all.begin(), all.end(), IsPossible))
    return Fail(CudaStatus::kInvalidArgument, "a piece of the upload has impossible sizes");
  const DeviceScope scope(device);
  OCTAVO_RETURN_IF_FAILED(scope.status());
  StagingPool* pool = nullptr;
  OCTAVO_RETURN_IF_FAILED(PoolOf(device, &pool));
  const std::vector<Chunk> chunks = CutIntoChunks(all, parallel.num_threads);
  UploadRun run(device, pool);
  kernels::RunParallel(parallel, chunks.size(), [&](size_t i) { run.CopyChunk(chunks[i]); });
  return run.Wait();
}

CudaStatus CopyToDevice(int32_t device, void* to, const void* from_host, size_t bytes,
                        void* stream) {
  return Copy(device, to, from_host, bytes, cudaMemcpyHostToDevice, stream);
}

CudaStatus CopyToHost(int32_t device, void* to_host, const void* from, size_t bytes, void* stream) {
  return Copy(device, to_host, from, bytes, cudaMemcpyDeviceToHost, stream);
}

CudaStatus StreamCreate(int32_t device, void** stream) {
  *stream = nullptr;
  const DeviceScope scope(device);
  OCTAVO_RETURN_IF_FAILED(scope.status());
  cudaStream_t made = nullptr;
  OCTAVO_RETURN_IF_FAILED(
      ToStatus(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "making a stream"));
  *stream = made;
  return CudaStatus::kOk;
}

void StreamDestroy(int32_t device, void* stream) noexcept {
  if (stream == nullptr) return;
  const DeviceScope scope(device);
  if (scope.error() == cudaSuccess) cudaStreamDestroy(AsStream(stream));
  cudaGetLastError();
}

CudaStatus StreamWait(int32_t device, void* stream) {
  const DeviceScope scope(device);
  OCTAVO_RETURN_IF_FAILED(scope.status());
  return ToStatus(cudaStreamSynchronize(AsStream(stream)), "waiting for a stream");
}

}  // namespace octavo::cuda
