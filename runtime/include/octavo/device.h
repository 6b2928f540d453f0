// Where tensors live and linears run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace octavo {

// Numbers are part of the C ABI.
enum class DeviceType : int32_t { kCpu = 0, kCuda = 1 };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int32_t index = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

inline constexpr Device kCpuDevice{DeviceType::kCpu, 0};

std::string ToString(Device device);  // "cpu", "cuda:0"

// One thing that this machine could run linears with, usable or not.
struct BackendInfo {
  std::string name;  // "portable", "avx2", …, "cuda"
  DeviceType type = DeviceType::kCpu;
  bool usable = false;
  bool selected = false;  // what Prepare takes unless told otherwise
  std::string reason;     // why it is (not) usable, or why it was selected
};

// Every backend that this release knows. Reads OCTAVO_CPU as Prepare does. Thread-safe.
std::vector<BackendInfo> ListBackends();

}  // namespace octavo
