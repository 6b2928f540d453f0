// The CUDA backend on the emulation of tests/simt, as a table of functions whose device memory is
// the host's.
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cuda/error.h"
#include "kernels/cuda/operations.h"
#include "simt.h"
#include "tests/kernels/cuda/devices.h"
#include "tests/testing/guarded_buffer.h"
#include "tests/testing/random.h"

namespace octavo::kernels {
namespace {

std::mutex mutex;
std::map<void*, std::unique_ptr<testing::GuardedBuffer>>& Allocations() {
  static std::map<void*, std::unique_ptr<testing::GuardedBuffer>> allocations;
  return allocations;
}

CudaStatus Allocate(int32_t, size_t bytes, void** memory) {
  auto buffer = std::make_unique<testing::GuardedBuffer>(bytes, 256);
  *memory = buffer->data();
  const std::lock_guard lock(mutex);
  Allocations()[*memory] = std::move(buffer);
  return CudaStatus::kOk;
}

void Release(int32_t, void* memory) {
  EXPECT_EQ(cuda::simt::Finish(), CudaStatus::kOk) << cuda::LastError();
  const std::lock_guard lock(mutex);
  Allocations().erase(memory);
}

CudaStatus Copy(int32_t, void* to, const void* from, size_t bytes, void*) {
  if (const CudaStatus status = cuda::simt::Finish(); status != CudaStatus::kOk) return status;
  if (bytes != 0) std::memcpy(to, from, bytes);
  return CudaStatus::kOk;
}

const CudaTable kTable = [] {
  CudaTable table = {};
  table.version = kCudaTableVersion;
  table.description = "emulated";
  table.last_error = cuda::LastError;
  table.allocate = Allocate;
  table.release = Release;
  table.copy_to_device = Copy;
  table.copy_to_host = Copy;
  table.quantize_workspace_bytes = cuda::QuantizeWorkspaceBytes;
  table.multiply_workspace_bytes = cuda::MultiplyWorkspaceBytes;
  table.quantize = cuda::Quantize;
  table.multiply = cuda::Multiply;
  table.forward = cuda::Forward;
  table.accumulate = cuda::Accumulate;
  table.product_name = cuda::ProductName;
  return table;
}();

// Few multiprocessors, so that blocks take several tiles each.
const std::map<std::string, cuda::DeviceTraits>& Traits() {
  static const std::map<std::string, cuda::DeviceTraits> traits = {
      {"hopper", {90, true, 4, 227 << 10, 90}},
      {"ampere", {80, false, 4, 163 << 10, 80}},
      {"small_blackwell", {120, false, 4, 99 << 10, 120}},
  };
  return traits;
}

}  // namespace

std::vector<std::string> TestDeviceNames() {
  std::vector<std::string> names;
  for (const auto& [name, traits] : Traits()) names.push_back(name);
  return names;
}

const CudaTable* SelectTestDevice(const std::string& name, int32_t* device, std::string*) {
  *device = 0;
  cuda::simt::SetDeviceTraits(Traits().at(name));
  cuda::simt::SetSeed(testing::TestSeed());
  cuda::simt::SetDeferred(true);
  return &kTable;
}

bool IsEmulated() { return true; }

}  // namespace octavo::kernels
