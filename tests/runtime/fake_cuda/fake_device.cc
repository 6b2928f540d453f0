#include "tests/runtime/fake_cuda/fake_device.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/cuda/error.h"

namespace octavo::testing {
namespace {

using cuda::Fail;

constexpr size_t kAlignment = 256;
constexpr unsigned char kFresh = 0xA5, kReleased = 0xDD;

struct Operation {
  const void* stream;
  std::function<std::string()> run;
};

struct FakeDevice {
  std::map<uintptr_t, size_t> allocations;  // begin -> bytes
  std::vector<Operation> pending;           // of all streams, in order
  std::string error;                        // the first one; it stays
};

struct FakeMachine {
  std::mutex mutex;
  std::array<FakeDevice, kFakeDevices> devices;
  FakeCudaCounters counters;
};

FakeMachine& Machine() {
  static FakeMachine& machine = *new FakeMachine;
  return machine;
}

CudaStatus CheckDevice(int32_t device) {
  if (device >= 0 && device < kFakeDevices) return CudaStatus::kOk;
  return Fail(CudaStatus::kUnsupported, "there is no fake device " + std::to_string(device));
}

// Requires: the machine's lock is held.
void RunPending(FakeDevice* device, const void* stream, bool every_stream) {
  std::vector<Operation> others;
  for (Operation& operation : std::exchange(device->pending, {})) {
    if (!every_stream && operation.stream != stream) {
      others.push_back(std::move(operation));
      continue;
    }
    --Machine().counters.pending;
    const std::string error = operation.run();
    if (device->error.empty()) device->error = error;
  }
  device->pending = std::move(others);
}

}  // namespace

bool IsAsked(const char* word) {
  const char* asked = std::getenv("OCTAVO_FAKE_CUDA");
  if (asked == nullptr) return false;
  const std::string list = "," + std::string(asked) + ",";
  return list.find("," + std::string(word) + ",") != std::string::npos;
}

FakeCudaCounters Counters() {
  const std::lock_guard lock(Machine().mutex);
  return Machine().counters;
}

CudaStatus Allocate(int32_t device, size_t bytes, void** memory) {
  *memory = nullptr;
  if (const CudaStatus status = CheckDevice(device); status != CudaStatus::kOk) return status;
  const bool possible = bytes < PTRDIFF_MAX - kAlignment && !IsAsked("no-memory");
  void* made = possible ? ::operator new (std::max(bytes, size_t{1}), std::align_val_t{kAlignment},
                                          std::nothrow)
                        : nullptr;
  if (made == nullptr)
    return Fail(CudaStatus::kOutOfMemory,
                "the fake device cannot allocate " + std::to_string(bytes) + " bytes");
  std::memset(made, kFresh, bytes);
  const std::lock_guard lock(Machine().mutex);
  Machine().devices[static_cast<size_t>(device)].allocations[reinterpret_cast<uintptr_t>(made)] =
      bytes;
  ++Machine().counters.allocations;
  ++Machine().counters.live_allocations;
  *memory = made;
  return CudaStatus::kOk;
}

void Release(int32_t device, void* memory) {
  if (memory == nullptr) return;
  FakeMachine& machine = Machine();
  const std::lock_guard lock(machine.mutex);
  FakeDevice& owner = machine.devices.at(static_cast<size_t>(device));
  RunPending(&owner, nullptr, true);
  const auto found = owner.allocations.find(reinterpret_cast<uintptr_t>(memory));
  if (found == owner.allocations.end()) std::abort();  // released twice, or never allocated
  std::memset(memory, kReleased, found->second);
  owner.allocations.erase(found);
  --machine.counters.live_allocations;
  ::operator delete (memory, std::align_val_t{kAlignment});
}

CudaStatus CheckOwned(int32_t device, const void* memory, size_t bytes, const char* name) {
  if (const CudaStatus status = CheckDevice(device); status != CudaStatus::kOk) return status;
  if (bytes == 0) return CudaStatus::kOk;
  const std::lock_guard lock(Machine().mutex);
  const auto& allocations = Machine().devices[static_cast<size_t>(device)].allocations;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  auto after = allocations.upper_bound(address);
  if (after != allocations.begin()) {
    const auto& [begin, size] = *std::prev(after);
    if (address - begin <= size && bytes <= size - (address - begin)) return CudaStatus::kOk;
  }
  return Fail(CudaStatus::kInvalidArgument,
              std::string(name) + " is not in memory of fake device " + std::to_string(device));
}

CudaStatus StreamCreate(int32_t device, void** stream) {
  *stream = nullptr;
  if (const CudaStatus status = CheckDevice(device); status != CudaStatus::kOk) return status;
  *stream = new char;
  return CudaStatus::kOk;
}

void StreamDestroy(int32_t device, void* stream) {
  if (stream == nullptr) return;
  static_cast<void>(StreamWait(device, stream));
  delete static_cast<char*>(stream);
}

CudaStatus StreamWait(int32_t device, void* stream) {
  if (const CudaStatus status = CheckDevice(device); status != CudaStatus::kOk) return status;
  FakeMachine& machine = Machine();
  const std::lock_guard lock(machine.mutex);
  FakeDevice& waited = machine.devices[static_cast<size_t>(device)];
  ++machine.counters.waits;
  RunPending(&waited, stream, false);
  return waited.error.empty() ? CudaStatus::kOk : Fail(CudaStatus::kFailed, waited.error);
}

CudaStatus Enqueue(int32_t device, void* stream, std::function<std::string()> operation) {
  if (const CudaStatus status = CheckDevice(device); status != CudaStatus::kOk) return status;
  const std::lock_guard lock(Machine().mutex);
  Machine().devices[static_cast<size_t>(device)].pending.push_back({stream, std::move(operation)});
  ++Machine().counters.pending;
  return CudaStatus::kOk;
}

}  // namespace octavo::testing
