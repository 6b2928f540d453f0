// Where tensors live and linears run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace octavo {

namespace kernels {
struct CudaTable;
}

// Numbers are part of the C ABI.
enum class DeviceType : int32_t { kCpu = 0, kCuda = 1 };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int32_t index = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

inline constexpr Device kCpuDevice{DeviceType::kCpu, 0};

std::string ToString(Device device);  // "cpu", "cuda:0"

// What a GPU is.
struct GpuFacts {
  std::string name;
  std::string pci_bus_id;
  int32_t compute_major = 0;
  int32_t compute_minor = 0;
  int32_t multiprocessors = 0;
  uint64_t l2_bytes = 0;
  uint64_t memory_bytes = 0;
  std::string driver_cuda;  // the newest CUDA that the driver has: "13.0"
};

// One thing that this machine could run linears with, usable or not.
struct BackendInfo {
  std::string name;  // "portable", "avx2", …, "cuda:0"; "cuda" where there is no device
  DeviceType type = DeviceType::kCpu;
  bool usable = false;
  bool selected = false;  // what Prepare takes unless told otherwise
  std::string reason;     // why it is (not) usable, or why it was selected
  std::optional<GpuFacts> gpu = {};
};

// Every backend that this release knows, and every CUDA device. Reads OCTAVO_CPU as Prepare does.
// Thread-safe.
std::vector<BackendInfo> ListBackends();

// The CUDA backend (octavo/cuda_kernels.h), for those who have device memory to make; null with
// *why_not (may be null) where it cannot be had. Opened once in the life of a process, from beside
// the program or library that contains Octavo, from the installation's library folder, or by the
// system's loader; OCTAVO_CUDA_LIBRARY names another file, or is "off". Thread-safe.
const kernels::CudaTable* CudaLibrary(std::string* why_not);

}  // namespace octavo
