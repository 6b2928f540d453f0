// One int8 linear: prepared once for a device, then multiplied with activations as LLM.int8() does.
// The arithmetic is docs/numerics.md's. x: [tokens, in_features], y: [tokens, out_features], each
// F16, BF16 or F32. Calls return errors as values; the one exception that may pass is
// std::bad_alloc, for small objects. A call that is given a workspace allocates nothing on success
// (Quantize: only the object that it returns).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "octavo/device.h"
#include "octavo/kernels.h"
#include "octavo/manifest.h"
#include "octavo/model.h"
#include "octavo/result.h"
#include "octavo/slice.h"
#include "octavo/tensor_view.h"

namespace octavo {

// The operands of a linear that somebody else keeps: an engine's own tensors. All arrays must
// outlive the Linear and what is prepared from it for the CPU; a CUDA device has its own copy.
struct LinearOperands {
  std::string name = "linear";  // for messages
  int64_t in_features = 0;
  int64_t out_features = 0;
  const int8_t* codes = nullptr;  // [out_features, in_features]
  const float* scales = nullptr;  // [out_features]: absmax, or the step
  format::ScaleConvention convention = format::ScaleConvention::kAbsmax;
  bool full_range = false;              // codes may be -128
  const int32_t* code_sum = nullptr;    // [out_features]; null: Prepare sums the codes
  const int32_t* zero_point = nullptr;  // [out_features]; null: none
  // Kept columns: ascending indices, and weights [num_kept, out_features].
  int64_t num_kept = 0;
  const int32_t* kept_index = nullptr;
  const void* kept_weight = nullptr;
  DType kept_dtype = DType::kF16;
  const void* bias = nullptr;  // [out_features]; null: none
  DType bias_dtype = DType::kF16;
  format::Quantization quantization = {};
};

// Names one linear of an opened model. Cheap to copy; keeps the mapping alive. Const and
// thread-safe.
class Linear {
 public:
  // One in the caller's memory instead of a file. Errors: kInvalidArgument (a size below 0, a null
  // array, a threshold that is negative or NaN), kLimit (sizes).
  static Result<Linear> FromMemory(const LinearOperands& operands);

  const std::string& name() const;
  int64_t in_features() const;
  int64_t out_features() const;
  bool has_bias() const;
  int64_t num_kept_columns() const;  // of the whole module, as is what module() says
  const format::Module& module() const;
  const format::Quantization& quantization() const;  // what the file states

  // What one of `world` ranks has of it (SplitFeatures), or given features: a linear with fewer
  // features, of which Prepare reads its part of the file alone. Sliced by out_features it
  // multiplies as any other; sliced by in_features it goes through octavo/row_parallel.h. Errors:
  // kInvalidArgument (no such rank, features or axis; a slice already).
  Result<Linear> slice(int32_t rank, int32_t world, SliceAxis axis) const;
  Result<Linear> slice_features(int64_t begin, int64_t end, SliceAxis axis) const;
  const std::optional<Slice>& part() const;  // nothing: the whole

  struct InMemory;  // of the runtime: a module and its operands

 private:
  friend class Model;
  friend class PreparedLinear;
  Linear(Model model, const format::Module* module, int64_t expert);
  explicit Linear(std::shared_ptr<const InMemory> in_memory);
  Model model_;                                // without a file where in_memory_ is not null
  std::shared_ptr<const InMemory> in_memory_;  // null: the operands are model_'s
  const format::Module* module_ = nullptr;
  int64_t expert_ = 0;
  std::optional<Slice> part_;
};

struct PrepareOptions {
  std::string cpu = {};  // CPU backend by name ("portable", …); empty: OCTAVO_CPU, else the best
  // Also check this module's payload digests first (kNotIntact); of a slice, its chunks'.
  bool check_digests = false;
  // Threads that the caller lends to bring codes into the kernels' layout; as Execution::parallel.
  kernels::ParallelFor parallel = {};
};

// How to quantize activations. What is left empty is what the file states.
struct QuantizeOptions {
  std::optional<float> threshold = {};
  std::optional<format::Scope> scope = {};
  std::optional<format::RowRule> row_rule = {};
  std::optional<format::Activations> activations = {};
};

// Where and with what a call runs. Everything is optional.
struct Execution {
  // Threads that the caller lends, num_threads of them at least 1; run == nullptr: Octavo's own
  // pool, made on first use and kept until the process ends. A forked child makes its own.
  kernels::ParallelFor parallel;
  // Memory for the call, at least the ...WorkspaceBytes of the call. CPU: 64-byte aligned; null:
  // allocated by the call. CUDA: 256-byte aligned memory of the linear's device, and must not be
  // null where bytes are needed.
  std::span<std::byte> workspace;
  // CUDA only: the stream to enqueue on (a cudaStream_t; null: the default stream). The call
  // returns at once, without an allocation or a wait, and can be captured in a CUDA graph; linear,
  // x, y and workspace must live, and not be used otherwise, until the stream has passed.
  void* stream = nullptr;
};

// A linear ready to multiply on one device: codes in the layout that its kernels read (the mapping
// itself where it already is; uploaded to a CUDA device), scales as multipliers. Owns what is not
// in the mapping and keeps the mapping alive. Move-only; const and thread-safe: any number of
// threads may multiply with it at once.
class PreparedLinear {
 public:
  // Scales (R26), the bounds of code sums, zero points and kept columns (R29) are always checked,
  // in O(out_features). What needs every code (R26's rows of scale 0, R27, R28), and digests, only
  // with check_digests; compressed tensors are always checked for digests. Neither made nor
  // destroyed on a CUDA device while a stream of it is being captured. Errors: kUnsupported (device
  // or backend not available here: says why; a bias that is no F16, BF16 or F32), kInvalidArgument
  // (options.cpu with a CUDA device), kInvalidFile / kNotIntact (naming tensor and rule), kLimit
  // (memory, the device's included; in_features above the kernels' limit), kIo (CUDA).
  static Result<PreparedLinear> Create(const Linear& linear, Device device = kCpuDevice,
                                       const PrepareOptions& options = {});

  PreparedLinear(PreparedLinear&&) noexcept;
  PreparedLinear& operator=(PreparedLinear&&) noexcept;
  ~PreparedLinear();

  const Linear& linear() const;
  Device device() const;
  int64_t in_features() const;
  int64_t out_features() const;
  const char* backend() const;  // "portable", …, "cuda:0"
  size_t owned_bytes() const;   // memory beyond the mapping, the device's included
  // What preparing touched of the file: pages (4096 bytes) of what is plain, whole stored chunks of
  // what is compressed or was checked.
  uint64_t bytes_read() const;

  struct State;
  const State& state() const { return *state_; }

 private:
  explicit PreparedLinear(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

inline Result<PreparedLinear> Prepare(const Linear& linear, Device device = kCpuDevice,
                                      const PrepareOptions& options = {}) {
  return PreparedLinear::Create(linear, device, options);
}

// Activations in int8 with their outliers noted, for every linear that takes the same input (q, k
// and v; gate and up). Refers to x and, if one was given, to the workspace: both must outlive it,
// and on a CUDA device what was enqueued with it. Move-only; const and thread-safe.
class QuantizedActivations {
 public:
  QuantizedActivations(QuantizedActivations&&) noexcept;
  QuantizedActivations& operator=(QuantizedActivations&&) noexcept;
  ~QuantizedActivations();

  int64_t tokens() const;
  int64_t in_features() const;
  // Columns with at least one outlier entry, ascending, kept columns not counted. On a CUDA device
  // this waits for the stream that Quantize was given and copies to the host. Errors: kIo (CUDA).
  Result<std::vector<int64_t>> outlier_columns() const;
  // Entries multiplied unquantized as outliers: all of those columns in scope batch, the entries
  // alone in scope token. On a CUDA device as above; scope token copies all of x.
  Result<int64_t> outlier_entries() const;

  struct State;
  const State& state() const { return *state_; }
  explicit QuantizedActivations(std::unique_ptr<State> state);

 private:
  std::unique_ptr<State> state_;
};

// Bytes of workspace for a call with up to `tokens` rows; the same for any options of the call.
// SIZE_MAX where tokens is negative or no address space could hold it: such a call is an error.
size_t QuantizeWorkspaceBytes(const PreparedLinear& linear, int64_t tokens);
size_t MultiplyWorkspaceBytes(const PreparedLinear& linear, int64_t tokens,
                              const Execution& execution = {});
size_t ForwardWorkspaceBytes(const PreparedLinear& linear, int64_t tokens,
                             const Execution& execution = {});

// Quantizes x as `linear` wants it (its kept columns, its file's options unless overridden).
// Errors: kInvalidArgument (dtype, shape, stride, device, alignment of data or workspace, a
// threshold that is negative or NaN, scope token with a method whose range spans rows; workspace
// too small, or none on a CUDA device; a stream on a CPU), kLimit (memory), kIo (CUDA).
Result<QuantizedActivations> Quantize(const PreparedLinear& linear, ConstTensorView x,
                                      const QuantizeOptions& options = {},
                                      const Execution& execution = {});

// y = x W^T + bias. y must not overlap x. Errors: kInvalidArgument (shapes, dtypes; activations
// that were quantized for other kept columns, another method, device or backend), kLimit, kIo
// (CUDA).
Status Multiply(const QuantizedActivations& x, const PreparedLinear& linear, TensorView y,
                const Execution& execution = {});

// Quantize and Multiply in one. y must not overlap x. Errors: those of both.
Status Forward(const PreparedLinear& linear, ConstTensorView x, TensorView y,
               const QuantizeOptions& options = {}, const Execution& execution = {});

}  // namespace octavo
