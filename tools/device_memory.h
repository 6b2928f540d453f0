// Memory of the device that a verb multiplies on, the CPU included.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "octavo/device.h"
#include "octavo/result.h"

namespace octavo::tools {

// Owns bytes, aligned as the runtime wants workspaces. Move-only; may be empty.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Errors: kLimit (no such memory to be had), kUnsupported (no such device), kIo (CUDA).
  static Result<DeviceMemory> Allocate(Device device, size_t bytes);
  // With a copy of host memory in it.
  static Result<DeviceMemory> Copy(Device device, std::span<const std::byte> host);

  // Waits for what was enqueued on the device's default stream. Requires: to.size() is this one's.
  Status CopyToHost(std::span<std::byte> to) const;

  void* data() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }
  std::span<std::byte> span() const { return {memory_.get(), bytes_}; }

 private:
  struct Release {
    Device device;
    void operator()(std::byte* memory) const;
  };
  DeviceMemory(Device device, std::byte* memory, size_t bytes)
      : memory_(memory, Release{device}), bytes_(bytes) {}
  std::unique_ptr<std::byte, Release> memory_{nullptr, Release{}};
  size_t bytes_ = 0;
};

// Waits for the device's default stream; nothing to do on a CPU. Errors: kIo (CUDA).
Status WaitFor(Device device);

}  // namespace octavo::tools
