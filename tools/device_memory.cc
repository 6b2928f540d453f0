#include "tools/device_memory.h"

#include <cstring>
#include <new>
#include <string>

#include "octavo/cuda_kernels.h"

namespace octavo::tools {
namespace {

constexpr std::align_val_t kHostAlignment{64};

// A CUDA device can be had only where there is a table; whoever names one has prepared a linear on
// it.
const kernels::CudaTable* Table() { return CudaLibrary(nullptr); }

Status ToStatus(Device device, kernels::CudaStatus status) {
  if (status == kernels::CudaStatus::kOk) return Status();
  const std::string text = ToString(device) + ": " + Table()->last_error();
  if (status == kernels::CudaStatus::kOutOfMemory) return Status(ErrorCode::kLimit, text);
  if (status == kernels::CudaStatus::kUnsupported) return Status(ErrorCode::kUnsupported, text);
  return Status(ErrorCode::kIo, text);
}

Result<void*> AllocateOnHost(size_t bytes) {
  void* memory =
      bytes > PTRDIFF_MAX ? nullptr : ::operator new(bytes, kHostAlignment, std::nothrow);
  if (memory != nullptr) return memory;
  return Status(ErrorCode::kLimit, "cannot allocate " + std::to_string(bytes) + " bytes");
}

Result<void*> AllocateOnCuda(Device device, size_t bytes) {
  std::string why_not;
  if (CudaLibrary(&why_not) == nullptr) return Status(ErrorCode::kUnsupported, why_not);
  void* memory = nullptr;
  OCTAVO_RETURN_IF_ERROR(ToStatus(device, Table()->allocate(device.index, bytes, &memory)));
  return memory;
}

}  // namespace

void DeviceMemory::Release::operator()(std::byte* memory) const {
  if (device.type == DeviceType::kCuda) {
    Table()->release(device.index, memory);
  } else {
    ::operator delete(memory, kHostAlignment);
  }
}

Result<DeviceMemory> DeviceMemory::Allocate(Device device, size_t bytes) {
  if (bytes == 0) return DeviceMemory();
  OCTAVO_ASSIGN_OR_RETURN(void* memory, device.type == DeviceType::kCuda
                                            ? AllocateOnCuda(device, bytes)
                                            : AllocateOnHost(bytes));
  return DeviceMemory(device, static_cast<std::byte*>(memory), bytes);
}

Result<DeviceMemory> DeviceMemory::Copy(Device device, std::span<const std::byte> host) {
  OCTAVO_ASSIGN_OR_RETURN(DeviceMemory copy, Allocate(device, host.size()));
  if (host.empty()) return copy;
  if (device.type == DeviceType::kCpu) {
    std::memcpy(copy.data(), host.data(), host.size());
    return copy;
  }
  OCTAVO_RETURN_IF_ERROR(ToStatus(
      device,
      Table()->copy_to_device(device.index, copy.data(), host.data(), host.size(), nullptr)));
  return copy;
}

Status DeviceMemory::CopyToHost(std::span<std::byte> to) const {
  if (bytes_ == 0) return Status();
  const Device device = memory_.get_deleter().device;
  if (device.type == DeviceType::kCpu) {
    std::memcpy(to.data(), data(), bytes_);
    return Status();
  }
  return ToStatus(device, Table()->copy_to_host(device.index, to.data(), data(), bytes_, nullptr));
}

Status WaitFor(Device device) {
  if (device.type == DeviceType::kCpu) return Status();
  return ToStatus(device, Table()->stream_wait(device.index, nullptr));
}

}  // namespace octavo::tools
