// Devices that are not there: memory that knows whose it is, and streams whose work waits until
// somebody waits for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "octavo/cuda_kernels.h"
#include "tests/runtime/fake_cuda/fake_cuda.h"

namespace octavo::testing {

using kernels::CudaStatus;

inline constexpr int32_t kFakeDevices = 2;

// Whether OCTAVO_FAKE_CUDA, a list of words between commas, has this one. Read at every call.
bool IsAsked(const char* word);

FakeCudaCounters Counters();

CudaStatus Allocate(int32_t device, size_t bytes, void** memory);
// Like cudaFree: everything enqueued on the device has run before. What reads the memory later
// finds paint.
void Release(int32_t device, void* memory);

// kOk if [memory, memory + bytes) lies in one allocation of the device; else an error that names
// it.
CudaStatus CheckOwned(int32_t device, const void* memory, size_t bytes, const char* name);

CudaStatus StreamCreate(int32_t device, void** stream);
void StreamDestroy(int32_t device, void* stream);
// Runs everything enqueued. The device's first error is returned from now on, as CUDA does it.
CudaStatus StreamWait(int32_t device, void* stream);
// `operation` returns "" or what is wrong.
CudaStatus Enqueue(int32_t device, void* stream, std::function<std::string()> operation);

}  // namespace octavo::testing
