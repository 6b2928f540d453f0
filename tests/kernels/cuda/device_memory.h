// Memory for kernels under test: of the device, or guarded memory of the host where the kernels are
// emulated (OCTAVO_SIMT_HOST). The same test source then runs on both.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "kernels/cuda/launch.h"

#if defined(OCTAVO_SIMT_HOST)
#include "simt.h"
#include "tests/testing/guarded_buffer.h"
#else
#include <cuda_runtime_api.h>
#endif

namespace octavo::cuda::testing {

#if defined(OCTAVO_SIMT_HOST)

// A fault follows an access past the end; writes before the start are found when it is destroyed.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count), buffer_(count * sizeof(T), 16) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    if (count_ != 0) std::memcpy(buffer_.data(), values.data(), count_ * sizeof(T));
  }
  ~DeviceArray() { EXPECT_TRUE(buffer_.Intact()) << "something was written around an array"; }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return reinterpret_cast<T*>(buffer_.data()); }
  std::vector<T> ToHost() {
    EXPECT_EQ(simt::Finish(), CudaStatus::kOk) << LastError();
    return {data(), data() + count_};
  }

 private:
  size_t count_;
  octavo::testing::GuardedBuffer buffer_;
};

// The emulation is always there. Each test has its own order of events.
inline bool HasDevice(uint64_t seed) {
  simt::SetSeed(seed);
  return true;
}

#else

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T) + 1), cudaSuccess);
    EXPECT_EQ(cudaMemset(data_, 0xa5, count * sizeof(T)), cudaSuccess);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    EXPECT_EQ(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  // Waits for the kernels; their faults are failures here.
  std::vector<T> ToHost() {
    std::vector<T> values(count_);
    const cudaError_t error =
        cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost);
    EXPECT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
    return values;
  }

 private:
  size_t count_;
  T* data_ = nullptr;
};

inline bool HasDevice(uint64_t) {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return true;
  cudaGetLastError();
  return false;
}

#endif

}  // namespace octavo::cuda::testing
