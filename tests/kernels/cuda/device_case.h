// One linear with its input, run through a CudaTable and compared with the reference at every step:
// the device's side of tests/kernels/linear_case.h. The table may be the emulation's or a GPU's.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "octavo/cuda_kernels.h"
#include "tests/kernels/linear_case.h"
#include "tests/testing/tolerance.h"

namespace octavo::kernels {

// Memory of a device, painted, with painted bytes on both sides that must stay as they are.
class DeviceBuffer {
 public:
  DeviceBuffer(const CudaTable& table, int32_t device, size_t bytes);
  DeviceBuffer(const CudaTable& table, int32_t device, const void* host, size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  template <class T = void>
  T* data() const {
    return reinterpret_cast<T*>(memory_ + kBorder);
  }
  size_t bytes() const { return bytes_; }
  std::vector<unsigned char> ToHost() const;
  template <class T>
  std::vector<T> ToHost(const void* from, size_t count) const {
    std::vector<T> values(count);
    Copy(values.data(), from, count * sizeof(T));
    return values;
  }

  static constexpr unsigned char kPaint = 0xa5;

 private:
  static constexpr size_t kBorder = 256;
  void Copy(void* to_host, const void* from, size_t bytes) const;

  const CudaTable& table_;
  int32_t device_;
  size_t bytes_;
  unsigned char* memory_ = nullptr;
};

// A case whose operands are on a device.
class DeviceCase {
 public:
  DeviceCase(const CudaTable& table, int32_t device, const LinearCase& linear_case);
  ~DeviceCase();

  // Rows [first, first + count) of X alone, quantized; then y of them, as they lie in memory.
  CudaActivations Quantize(size_t first, size_t count, void* stream = nullptr);
  std::vector<unsigned char> Multiply(const CudaActivations& quantized);
  // y of the same rows in one call.
  std::vector<unsigned char> Forward(size_t first, size_t count);
  std::vector<int64_t> Accumulate(const CudaActivations& quantized);
  const DeviceBuffer& workspace() const { return *workspace_; }
  const CudaLinear& linear() const { return linear_; }
  PreparedCase& prepared() { return prepared_; }

  // Codes, scales, zero points, sums, columns and acc bit for bit; y within the bound.
  void Check();

 private:
  ActivationView Rows(size_t first, size_t count);
  // Runs `multiply`, which writes to the view, and looks between the rows of y.
  template <class Body>
  std::vector<unsigned char> Output(size_t tokens, Body&& multiply);
  void CheckActivations(const CudaActivations& quantized,
                        const reference::QuantizedRows& expected) const;
  void* Keep(const void* host, size_t bytes);

  const CudaTable& table_;
  int32_t device_;
  const LinearCase& case_;
  PreparedCase prepared_;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers_;
  std::unique_ptr<DeviceBuffer> workspace_;
  CudaLinear linear_;
  unsigned char* x_ = nullptr;
};

void CheckOnDevice(const CudaTable& table, int32_t device, const LinearCase& linear_case);

}  // namespace octavo::kernels
