// The CUDA backend as a table of functions: liboctavo_cuda.so exports one symbol,
// octavo_cuda_table, and whoever finds the library (runtime/) calls through it. The definition is
// the CPU's (docs/numerics.md): codes, scales and accumulators bit for bit, outputs within its
// bound.
//
// Pointers named in Cuda... structs are device memory unless they say host. Functions are
// thread-safe. Arithmetic is enqueued on the caller's stream: no call of it allocates, copies to
// the host or waits, so it can be captured in a CUDA graph. The memory that it is given must live,
// and must not be used otherwise, until the stream has passed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/kernels.h"

namespace octavo::kernels {

// Changes with any change of this header. A library with another number is not used.
inline constexpr int32_t kCudaTableVersion = 1;

// Rows of codes on a device are padded with 0 to a multiple of this many bytes.
inline constexpr size_t kCudaRowAlignment = 128;

inline constexpr size_t CudaCodeStride(size_t in_features) {
  return (in_features + kCudaRowAlignment - 1) / kCudaRowAlignment * kCudaRowAlignment;
}

enum class CudaStatus : int32_t {
  kOk = 0,
  kInvalidArgument = 1,  // the contract excludes it
  kWorkspaceTooSmall = 2,
  kUnsupported = 3,  // no such device, or one that these kernels cannot run on
  kOutOfMemory = 4,  // device or pinned memory
  kFailed = 5,       // CUDA reported an error
};

struct CudaDeviceInfo {
  char name[256] = {};
  char pci_bus_id[32] = {};
  int32_t compute_major = 0;
  int32_t compute_minor = 0;
  int32_t multiprocessors = 0;
  int32_t l2_bytes = 0;
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  int32_t driver_version = 0;  // of CUDA, as 13000
  bool usable = false;
  char reason[256] = {};  // why (not)
};

// Kept columns as kernels read them; the same ones as a LinearView's.
struct CudaKeptColumns {
  size_t count = 0;
  const int32_t* index = nullptr;  // [count], ascending
  // [CudaCodeStride(in_features) / 64], bit k % 64 of word k / 64; null if count is 0.
  const uint64_t* mask = nullptr;
};

// A linear on a device. Its codes must be complete before a call that multiplies with them, not
// only enqueued in front of it: kernels load weights before the ones in front have finished. Arrays
// are [out_features] unless said otherwise.
struct CudaLinear {
  size_t out_features = 0;
  size_t in_features = 0;
  const int8_t* codes = nullptr;  // [out_features][CudaCodeStride(in_features)], 16-byte aligned
  const float* multiplier = nullptr;  // a
  const int32_t* code_sum = nullptr;
  const int32_t* zero_point = nullptr;  // null but for the zeropoint methods
  CudaKeptColumns kept;
  const void* kept_weight = nullptr;  // [kept.count][out_features]
  ElementType kept_type = ElementType::kFloat16;
  const void* bias = nullptr;  // null: none
  ElementType bias_type = ElementType::kFloat16;
};

// What quantize leaves for multiply, in the caller's workspace.
struct CudaActivations {
  ActivationView x;  // device memory; read again by multiply
  ActivationOptions options;
  const uint8_t* codes = nullptr;       // [tokens][code_stride]: uint8, or int8 where symmetric
  size_t code_stride = 0;               // CudaCodeStride(in_features); codes past in_features are 0
  const float* scale = nullptr;         // [tokens]
  const int32_t* zero_point = nullptr;  // [tokens], 0 where symmetric
  const int32_t* code_sum = nullptr;    // [tokens]
  // Columns with an outlier entry in any row, ascending, kept ones not counted: in scope batch the
  // set O; in scope token those that some row may need.
  const int32_t* outlier_columns = nullptr;      // [in_features]
  const int32_t* num_outlier_columns = nullptr;  // [1]
  CudaKeptColumns kept;
};

// Rows from host memory to device memory; device bytes between the end of a row and device_stride
// are set to 0.
struct CudaUpload {
  const void* host = nullptr;
  size_t rows = 0;
  size_t row_bytes = 0;
  size_t host_stride = 0;  // bytes
  void* device = nullptr;
  size_t device_stride = 0;  // bytes, at least row_bytes
};

struct CudaTable {
  int32_t version;          // kCudaTableVersion
  const char* description;  // "CUDA 13.0; sm_75, sm_80, …"

  // The text of this thread's last call that was not kOk; "" if it was.
  const char* (*last_error)();

  // How many devices there are. kFailed where the driver is missing or refuses: last_error says
  // why.
  CudaStatus (*device_count)(int32_t* count);
  CudaStatus (*device_info)(int32_t device, CudaDeviceInfo* info);

  // Memory of a device. Not for use while a stream is being captured.
  CudaStatus (*allocate)(int32_t device, size_t bytes, void** memory);  // 256-byte aligned
  void (*release)(int32_t device, void* memory);                        // null is fine
  // Copies through pinned staging memory, overlapped; `parallel` threads fill it. Done on return.
  CudaStatus (*upload)(int32_t device, const CudaUpload* pieces, size_t count,
                       const ParallelFor& parallel);
  // Plain copies for tools and tests, done on return after everything enqueued on the stream.
  CudaStatus (*copy_to_device)(int32_t device, void* to, const void* from_host, size_t bytes,
                               void* stream);
  CudaStatus (*copy_to_host)(int32_t device, void* to_host, const void* from, size_t bytes,
                             void* stream);

  // Streams, events and graphs for tools that have no CUDA of their own.
  CudaStatus (*stream_create)(int32_t device, void** stream);
  void (*stream_destroy)(int32_t device, void* stream);
  CudaStatus (*stream_wait)(int32_t device, void* stream);
  // Mean seconds of `repeat` runs of enqueue(context, stream): captured once as a CUDA graph of
  // `per_graph` runs and replayed, timed with events after one replay to warm up.
  CudaStatus (*time_graph)(int32_t device, CudaStatus (*enqueue)(void* context, void* stream),
                           void* context, int32_t per_graph, int32_t replays, double* seconds);
  // Seconds of one device-to-device copy of `bytes` (read and written), best of a few.
  CudaStatus (*time_copy)(int32_t device, size_t bytes, double* seconds);

  // Bytes of workspace, 256-byte aligned device memory. SIZE_MAX: more than any memory has. For up
  // to `tokens` rows and any options.
  size_t (*quantize_workspace_bytes)(size_t tokens, size_t in_features);
  size_t (*multiply_workspace_bytes)(int32_t device, size_t tokens, const CudaLinear& linear);

  // The operations of kernels.h on a stream (a cudaStream_t; null: the default stream).
  CudaStatus (*quantize)(int32_t device, const ActivationView& x, const ActivationOptions& options,
                         const CudaKeptColumns& kept, void* workspace, size_t workspace_bytes,
                         void* stream, CudaActivations* quantized);
  CudaStatus (*multiply)(int32_t device, const CudaActivations& quantized, const CudaLinear& linear,
                         const OutputView& y, void* workspace, size_t workspace_bytes,
                         void* stream);
  // Both in one, bit for bit; for very few tokens it is one kernel. The workspace is quantize's,
  // rounded up to 256 bytes, and multiply's behind it.
  CudaStatus (*forward)(int32_t device, const ActivationView& x, const ActivationOptions& options,
                        const CudaLinear& linear, const OutputView& y, void* workspace,
                        size_t workspace_bytes, void* stream);
  // For the tests: acc [tokens][out_features], by the same kernels with another epilogue.
  CudaStatus (*accumulate)(int32_t device, const CudaActivations& quantized,
                           const CudaLinear& linear, int64_t* acc, void* workspace,
                           size_t workspace_bytes, void* stream);
  // Which kernel multiply takes for so many tokens: "few_tokens", "wgmma_128x256", … For people.
  const char* (*product_name)(int32_t device, size_t tokens, const CudaLinear& linear);
};

}  // namespace octavo::kernels

// The library's one symbol: `const octavo::kernels::CudaTable* octavo_cuda_table()`.
extern "C" const octavo::kernels::CudaTable* octavo_cuda_table();
