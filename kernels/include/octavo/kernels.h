// The arithmetic of LLM.int8() on plain memory: weights to codes, activations to codes, and the
// product.
//
// docs/numerics.md is the definition, kernels/reference its plain-loop form. Every backend here
// gives the same codes, scales and accumulators bit for bit, and outputs within the bound that
// docs/numerics.md derives. Nothing here reads files, allocates in a hot path, prints, or throws.
// All functions are thread-safe on disjoint outputs. Sizes are elements unless a name says bytes.
// Rows are contiguous; strides are between rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace octavo::kernels {

enum class ElementType : int32_t { kFloat16 = 0, kBFloat16 = 1, kFloat32 = 2 };

// Longest row of a linear: sums of its uint8 codes still fit int32 (255 * 2^23 < 2^31). Acc itself
// is int64.
inline constexpr size_t kMaxInFeatures = size_t{1} << 23;

inline constexpr size_t ElementBytes(ElementType type) {
  return type == ElementType::kFloat32 ? 4 : 2;
}

enum class KernelStatus : int32_t {
  kOk = 0,
  kInvalidArgument = 1,    // a size, stride, pointer or option that the contract excludes
  kWorkspaceTooSmall = 2,  // see the ...WorkspaceBytes query beside the function
  kUnsupported = 3,        // this table cannot do it on this machine
};

// ---- Options of the activations' side (docs/numerics.md, section 3) ---------------------------

enum class Scope : int32_t {
  // A column with one outlier entry is unquantized in every row of the call (the paper's).
  kBatch = 0,
  // Only the outlier entries themselves: a row's result never depends on its neighbours.
  kToken = 1,
};
enum class RowRule : int32_t {
  kInlierColumns = 0,   // the range is over the entries outside the outlier columns (the paper's)
  kBelowThreshold = 1,  // over all entries that are no outlier entries (bitsandbytes')
};
enum class Activations : int32_t {
  kAsymmetric = 0,  // uint8 codes with a zero point
  kSymmetric = 1,   // int8 codes in [-127, 127] (the paper's)
};
enum class RangeOver : int32_t {
  kRow = 0,  // each row has its own range
  // One range over all rows of the call: methods tensor-wise and zeropoint-tensor. Not with kToken.
  kTensor = 1,
};

struct ActivationOptions {
  // |x| >= threshold is an outlier entry; 0: only non-finite entries are. Not negative, not NaN.
  float threshold = 6.0f;
  Scope scope = Scope::kBatch;
  RowRule row_rule = RowRule::kInlierColumns;
  Activations activations = Activations::kAsymmetric;
  RangeOver range_over = RangeOver::kRow;
  // compat=bitsandbytes: threshold, outliers, ranges and codes are taken from X rounded to fp16;
  // the outlier product still uses X as given.
  bool via_fp16 = false;
};

// ---- Weights, offline (docs/numerics.md, section 2) -------------------------------------------

// Smallest and largest finite-or-infinite value of a row, and where the first NaN or infinity
// stands.
struct WeightRange {
  float lo = 0;                        // min(0, smallest)
  float hi = 0;                        // max(0, largest)
  size_t first_non_finite = SIZE_MAX;  // index within the row; SIZE_MAX: none
  float absmax() const { return hi > -lo ? hi : -lo; }
};

// How far symmetric codes of a row are from its weights. Errors are 127 * w - code * absmax. The
// sums are of exact squares, in eight lanes (weight k in lane k % 8) that are added pairwise at the
// end: every machine has the same bits.
struct WeightError {
  double weight_squares = 0;
  double error_squares = 0;
  double max_error = 0;
  uint64_t saturated = 0;  // codes that are 127 or -127
};

// One zero-point grid: w ~ (v - zero_point) * step, v in [0, 255].
struct ZeropointGrid {
  float inverse_step = 0;
  float step = 0;
  int32_t zero_point = 0;
};
// The grid for a range, by the formulas of asymmetric activations; all zero for a range below
// 255 * 2^-126. Requires: lo <= 0 <= hi.
ZeropointGrid MakeZeropointGrid(float lo, float hi) noexcept;

// absmax as it is stored: 0 where it is below 127 * 2^-126, so that every scale is a normal float.
float StoredAbsmax(float absmax) noexcept;

// ---- Threads ----------------------------------------------------------------------------------

// How work is spread. `run` calls task(task_context, i) once for every i in [0, count), on any
// threads, in any order, and returns when all are done. An engine lends its threads by giving
// its own function; ThreadPool has one; with none, the calling thread does everything. Results
// never depend on it.
struct ParallelFor {
  using Task = void (*)(void* task_context, int64_t index);
  void (*run)(void* context, int64_t count, Task task, void* task_context) = nullptr;
  void* context = nullptr;
  int32_t num_threads = 1;  // how many may run at once: work is cut for that many
};

// Runs everything on the calling thread.
ParallelFor SerialFor();

// ---- A prepared linear and its operands -------------------------------------------------------

enum class WeightLayout : int32_t {
  kPlain = 0,  // codes[out_features][in_features]
  // File name "vnni16x4-1": [out/16][in/4][16][4], out padded to 16, in to 64, padding 0.
  kVnni16x4 = 1,
};

// Bytes of a code matrix in a layout. Requires: no overflow (sizes were checked when the file was
// opened).
size_t LayoutBytes(WeightLayout layout, size_t out_features, size_t in_features);
// plain: [out_features][in_features] codes -> packed: LayoutBytes(layout, …) bytes, and back.
void PackCodes(WeightLayout layout, const int8_t* plain, size_t out_features, size_t in_features,
               int8_t* packed, const ParallelFor& parallel = {});
void UnpackCodes(WeightLayout layout, const int8_t* packed, size_t out_features, size_t in_features,
                 int8_t* plain);
// sums [out_features]: of each row's codes. Requires: padding 0.
void SumCodes(WeightLayout layout, const int8_t* codes, size_t out_features, size_t in_features,
              int32_t* sums);

// The int8 side of a linear. Non-owning; all arrays are [out_features] unless said otherwise.
struct LinearView {
  size_t out_features = 0;
  size_t in_features = 0;
  const int8_t* codes = nullptr;  // in `layout`
  WeightLayout layout = WeightLayout::kPlain;
  const float* multiplier = nullptr;    // a[n]: absmax[n] / 127.0f, or the step itself
  const int32_t* code_sum = nullptr;    // sum over k of the codes
  const int32_t* zero_point = nullptr;  // of the weights, zeropoint methods only; else null
  // Kept columns: always multiplied in 16 bit. kept_index ascending, kept_weight
  // [num_kept][out_features].
  size_t num_kept = 0;
  const int32_t* kept_index = nullptr;
  const void* kept_weight = nullptr;
  ElementType kept_type = ElementType::kFloat16;
  const void* bias = nullptr;  // null: no bias
  ElementType bias_type = ElementType::kFloat16;
};

// X: [tokens][in_features], rows `row_stride` elements apart.
struct ActivationView {
  const void* data = nullptr;
  ElementType type = ElementType::kFloat16;
  size_t tokens = 0;
  size_t in_features = 0;
  size_t row_stride = 0;
};

// Y: [tokens][out_features].
struct OutputView {
  void* data = nullptr;
  ElementType type = ElementType::kFloat16;
  size_t row_stride = 0;
};

// What QuantizeActivations leaves for Multiply. Points into the caller's workspace and at X, which
// both must outlive it: entries of G are read from X itself, never rounded.
struct QuantizedActivations {
  ActivationView x;
  ActivationOptions options;
  // [tokens][code_stride]: uint8, or the bits of int8 where symmetric; 0 from in_features to the
  // next multiple of 64.
  const uint8_t* codes = nullptr;
  size_t code_stride = 0;               // bytes
  const float* scale = nullptr;         // [tokens] s
  const int32_t* zero_point = nullptr;  // [tokens] z; 0 where symmetric
  const int32_t* code_sum = nullptr;    // [tokens] sum over k of the codes, entries of G included
  // Bit k % 64 of word k / 64: entry k is in G, kept columns not counted. One row of words for
  // every row of X in scope token; a single row (stride 0), the outlier columns O, in scope batch.
  const uint64_t* outlier_mask = nullptr;
  size_t mask_stride = 0;  // words
  // Kept columns that were left out of codes and ranges; Multiply must be given a linear with the
  // same ones.
  size_t num_kept = 0;
  const int32_t* kept_index = nullptr;
};

// ---- Threads ----------------------------------------------------------------------------------

// ---- The table of functions that each instruction set fills -----------------------------------

// A block of output: rows [row_begin, row_end) by output features [col_begin, col_end), from a
// multiple of 64 on: no group of a packed layout is cut.
struct Block {
  size_t row_begin = 0, row_end = 0, col_begin = 0, col_end = 0;
};

// How an output is cut into blocks. Those at its ends are smaller.
struct BlockShape {
  size_t rows = 64;
  size_t cols = 64;  // a multiple of 64
  // Blocks that follow each other have the same rows of X; without it, the same weights.
  bool along_rows = false;
};

struct CpuKernels {
  const char* name;     // "portable", "avx2", …
  WeightLayout layout;  // the layout that multiply_block reads; Prepare packs into it once

  // Weights. `row`: in_features elements of `type`.
  WeightRange (*weight_range)(const void* row, ElementType type, size_t in_features);
  // code = clamp(rne(w * (127 * (1 / absmax)))), all 0 for a stored absmax of 0. Returns the sum of
  // the codes. Requires: finite row; absmax as StoredAbsmax gives it.
  int32_t (*encode_symmetric)(const void* row, ElementType type, size_t in_features, float absmax,
                              int8_t* codes);
  // encode_symmetric and how far the codes are from the weights, in one pass; null: this table has
  // none. Requires: kFloat16 or kBFloat16; absmax a value of that type, at least every magnitude
  // (or 0), below 2^120.
  int32_t (*encode_measured)(const void* row, ElementType type, size_t in_features, float absmax,
                             int8_t* codes, WeightError* error);
  // code = clamp(rne(w * inverse_step) + zero_point, 0, 255) - 128. Returns the sum of the codes.
  int32_t (*encode_zeropoint)(const void* row, ElementType type, size_t in_features,
                              ZeropointGrid grid, int8_t* codes);

  // Activations, rows [row_begin, row_end) of x.
  // ORs the outlier columns of these rows into mask [ceil(in_features / 64)].
  void (*find_outliers)(const ActivationView& x, const ActivationOptions& options, size_t row_begin,
                        size_t row_end, uint64_t* mask);
  // Ranges over what the row rule says: lo[m] = min(0, smallest), hi[m] = max(0, largest).
  // `exclude`: the kept columns, and for inlier_columns in scope batch the outlier columns too;
  // outlier entries are always left out.
  void (*row_ranges)(const ActivationView& x, const ActivationOptions& options,
                     const uint64_t* exclude, size_t row_begin, size_t row_end, float* lo,
                     float* hi);
  // Codes, s, z and the sums of codes from the ranges. `exclude`: every column whose entries are
  // all in G. Scope token: writes the row's outlier entries (kept columns not counted) to
  // outlier_mask, mask_stride words a row.
  void (*encode_rows)(const ActivationView& x, const ActivationOptions& options,
                      const uint64_t* exclude, const float* lo, const float* hi, size_t row_begin,
                      size_t row_end, uint8_t* codes, size_t code_stride, float* scale,
                      int32_t* zero_point, int32_t* code_sum, uint64_t* outlier_mask,
                      size_t mask_stride);

  // The blocks that multiply_block is best at, for so many threads; null: BlockShape{}.
  BlockShape (*block_shape)(size_t tokens, size_t in_features, size_t out_features, size_t threads);
  // The product with its epilogue: int8 accumulation, outliers, kept columns, bias, one rounding.
  // `scratch`: block_scratch_bytes(...) bytes, 64-byte aligned, not shared between threads.
  size_t (*block_scratch_bytes)(size_t block_rows, size_t block_cols, size_t in_features,
                                size_t num_kept);
  void (*multiply_block)(const QuantizedActivations& q, const LinearView& linear,
                         const OutputView& y, const Block& block, void* scratch);
  // For the tests: the same main loop with an epilogue that writes acc, [tokens][out_features]
  // int64.
  void (*accumulate_block)(const QuantizedActivations& q, const LinearView& linear,
                           const Block& block, int64_t* acc, size_t acc_stride, void* scratch);
};

struct CpuKernelsInfo {
  const CpuKernels* kernels;  // null: not compiled into this build
  const char* name;
  bool supported;      // this CPU and operating system can run it
  std::string reason;  // why not, or what it needs
};

// Every table this release knows, best first. Thread-safe; the list lives as long as the process.
std::span<const CpuKernelsInfo> ListCpuKernels();
// The table by name ("" or "auto": the best supported one). Null with *why filled if the name is
// unknown or the machine cannot run it.
const CpuKernels* FindCpuKernels(const char* name, std::string* why);
// The table that OCTAVO_CPU names, or the best one. The only function that reads the environment.
const CpuKernels* SelectCpuKernels(std::string* why);

// ---- Whole operations, cut into blocks over a ParallelFor -------------------------------------

// Bytes that QuantizeActivations needs with these options; SIZE_MAX if that is more than any memory
// has. 64-byte aligned memory.
size_t QuantizeWorkspaceBytes(size_t tokens, size_t in_features, const ActivationOptions& options);

// Quantizes X for any linear with these in_features and kept columns. tokens = 0 is fine.
// `quantized` keeps pointing at kept_index. Errors: kInvalidArgument (negative or NaN threshold,
// kTensor with kToken, in_features > kMaxInFeatures, row_stride < in_features with tokens > 1,
// kept_index not ascending or out of range), kWorkspaceTooSmall.
KernelStatus QuantizeActivations(const CpuKernels& kernels, const ActivationView& x,
                                 const ActivationOptions& options,
                                 std::span<const int32_t> kept_index, const ParallelFor& parallel,
                                 void* workspace, size_t workspace_bytes,
                                 QuantizedActivations* quantized);

// The same in two steps, for X whose columns are split over several callers (docs/numerics.md,
// section 10). `ranges` is [2][tokens]: -lo of each row, then hi of each row, none negative. The
// callers replace each number by the largest that any of them found; with it the codes are those of
// the unsplit X. Workspace of both: QuantizeWorkspaceBytes; nothing is kept in it between them.
// Errors: those of QuantizeActivations.
KernelStatus FindRanges(const CpuKernels& kernels, const ActivationView& x,
                        const ActivationOptions& options, std::span<const int32_t> kept_index,
                        const ParallelFor& parallel, void* workspace, size_t workspace_bytes,
                        float* ranges);
// Requires: ranges no narrower than X's own; codes beyond them are clamped. Errors besides:
// kInvalidArgument (a range that is negative or not finite).
KernelStatus QuantizeWithRanges(const CpuKernels& kernels, const ActivationView& x,
                                const ActivationOptions& options,
                                std::span<const int32_t> kept_index, const float* ranges,
                                const ParallelFor& parallel, void* workspace,
                                size_t workspace_bytes, QuantizedActivations* quantized);

// Bytes that Multiply needs for scratch; SIZE_MAX as above. 64-byte aligned memory. Accumulate
// needs as many as with SerialFor().
size_t MultiplyWorkspaceBytes(const CpuKernels& kernels, size_t tokens, const LinearView& linear,
                              const ParallelFor& parallel);

// y = ((float(acc) * s) * a + outlier sum) + bias, rounded once to y.type. tokens = 0 writes
// nothing. Requires: quantized comes from the same kernels; linear.layout == kernels.layout.
// Errors: kInvalidArgument (in_features, kept columns or layout differ), kWorkspaceTooSmall.
KernelStatus Multiply(const CpuKernels& kernels, const QuantizedActivations& quantized,
                      const LinearView& linear, const OutputView& y, const ParallelFor& parallel,
                      void* workspace, size_t workspace_bytes);

// The rest of a product whose in_features were split: partial products are those of Multiply
// without bias into float32; once they are added up, y = sums + bias, rounded once to y.type.
// `sums`: [tokens][linear.out_features], rows sums_stride apart; of `linear` only out_features and
// the bias count. y may be `sums` itself where it is float32. Errors: kInvalidArgument.
KernelStatus FinishPartials(const float* sums, size_t sums_stride, size_t tokens,
                            const LinearView& linear, const OutputView& y,
                            const ParallelFor& parallel);

// For the tests: acc[m][n] of the whole product. `acc`: [tokens][out_features].
KernelStatus Accumulate(const CpuKernels& kernels, const QuantizedActivations& quantized,
                        const LinearView& linear, int64_t* acc, void* workspace,
                        size_t workspace_bytes);

}  // namespace octavo::kernels
