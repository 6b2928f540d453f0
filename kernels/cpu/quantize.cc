// QuantizeActivations, whole or in two steps: checks, cuts the rows into groups, and has the
// table's functions run over them.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

constexpr size_t kGroupRows =
    16;  // rows of one task: enough work to hand out, and they stay in cache
constexpr size_t kMaskParts = 32;  // tasks of the outlier search at most; each has its own mask

// Rows of codes are an odd number of cache lines apart: rows a power of two apart would all fall
// into one set of the cache.
size_t CodeStride(size_t in_features) { return RoundUp64(in_features) | 64; }

size_t WordsOf(size_t in_features) { return (in_features + 63) / 64; }
size_t GroupsOf(size_t tokens) { return tokens / kGroupRows + (tokens % kGroupRows != 0); }

// Pieces of the workspace. With no memory only `bytes` is meant.
struct Workspace {
  uint8_t* codes;
  float* scale;
  int32_t* zero_point;
  int32_t* code_sum;
  float* lo;
  float* hi;
  uint64_t* outliers;  // [1 or tokens][words]
  uint64_t* kept;      // [words]
  uint64_t* excluded;  // [words]: kept columns and outlier columns
  uint64_t* parts;     // [kMaskParts][words]
  size_t bytes;
};

Workspace Carve(void* memory, size_t tokens, size_t in_features, const ActivationOptions& options) {
  Workspace workspace{};
  unsigned char* base = static_cast<unsigned char*>(memory);
  size_t used = 0;
  const auto take = [&]<class T>(T*& piece, size_t count) {
    if (base != nullptr) piece = reinterpret_cast<T*>(base + used);
    used = SaturatingAdd(used, RoundUp64(SaturatingMul(count, sizeof(T))));
  };
  const size_t words = WordsOf(in_features);
  take(workspace.codes, SaturatingMul(tokens, CodeStride(in_features)));
  take(workspace.scale, tokens);
  take(workspace.zero_point, tokens);
  take(workspace.code_sum, tokens);
  take(workspace.lo, tokens);
  take(workspace.hi, tokens);
  take(workspace.outliers, SaturatingMul(options.scope == Scope::kToken ? tokens : 1, words));
  take(workspace.kept, words);
  take(workspace.excluded, words);
  take(workspace.parts, kMaskParts * words);
  workspace.bytes = used;
  return workspace;
}

bool IsValid(const ActivationOptions& o) {
  return o.threshold >= 0.0f && (o.scope == Scope::kBatch || o.scope == Scope::kToken) &&
         (o.row_rule == RowRule::kInlierColumns || o.row_rule == RowRule::kBelowThreshold) &&
         (o.activations == Activations::kAsymmetric || o.activations == Activations::kSymmetric) &&
         (o.range_over == RangeOver::kRow ||
          (o.range_over == RangeOver::kTensor && o.scope == Scope::kBatch));
}

bool IsValid(const ActivationView& x) {
  const bool has_data = x.data != nullptr || x.tokens == 0 || x.in_features == 0;
  return IsKnown(x.type) && has_data && x.in_features <= kMaxInFeatures &&
         (x.tokens <= 1 || x.row_stride >= x.in_features);
}

bool IsAscendingBelow(std::span<const int32_t> index, size_t end) {
  for (size_t i = 0; i < index.size(); ++i) {
    if (index[i] < 0 || static_cast<size_t>(index[i]) >= end) return false;
    if (i > 0 && index[i] <= index[i - 1]) return false;
  }
  return true;
}

// One call.
struct Quantization {
  const CpuKernels& kernels;
  const ActivationView& x;
  const ActivationOptions& options;
  const ParallelFor& parallel;
  const Workspace& workspace;
  size_t words;
  size_t mask_stride;

  template <class Body>
  void ForRowGroups(Body&& body) const {
    RunParallel(parallel, GroupsOf(x.tokens), [&](size_t group) {
      body(group * kGroupRows, std::min(x.tokens, (group + 1) * kGroupRows));
    });
  }

  // outliers = O without the kept columns. Each task ORs into a mask of its own.
  void FindOutlierColumns() const {
    const size_t groups = GroupsOf(x.tokens), parts = std::min(groups, kMaskParts);
    std::fill_n(workspace.parts, parts * words, 0);
    RunParallel(parallel, parts, [&](size_t part) {
      const size_t begin = groups * part / parts * kGroupRows,
                   end = groups * (part + 1) / parts * kGroupRows;
      kernels.find_outliers(x, options, begin, std::min(x.tokens, end),
                            workspace.parts + part * words);
    });
    std::fill_n(workspace.outliers, words, 0);
    for (size_t i = 0; i < parts * words; ++i) workspace.outliers[i % words] |= workspace.parts[i];
    for (size_t w = 0; w < words; ++w) {
      workspace.outliers[w] &= ~workspace.kept[w];
      workspace.excluded[w] = workspace.kept[w] | workspace.outliers[w];
    }
  }

  void RangeRows(const uint64_t* exclude, size_t begin, size_t end) const {
    kernels.row_ranges(x, options, exclude, begin, end, workspace.lo, workspace.hi);
  }

  void EncodeRows(const uint64_t* exclude, size_t begin, size_t end) const {
    kernels.encode_rows(x, options, exclude, workspace.lo, workspace.hi, begin, end,
                        workspace.codes, CodeStride(x.in_features), workspace.scale,
                        workspace.zero_point, workspace.code_sum, workspace.outliers, mask_stride);
  }

  // One range over all rows: methods tensor-wise and zeropoint-tensor.
  void MergeRanges() const {
    const float lo = *std::min_element(workspace.lo, workspace.lo + x.tokens);
    const float hi = *std::max_element(workspace.hi, workspace.hi + x.tokens);
    std::fill_n(workspace.lo, x.tokens, lo);
    std::fill_n(workspace.hi, x.tokens, hi);
  }

  // The columns that are out of every range, and those whose entries are all in G. In scope batch
  // they are known once FindOutlierColumns has run.
  const uint64_t* range_exclude() const {
    const bool whole_columns =
        options.scope == Scope::kBatch && options.row_rule == RowRule::kInlierColumns;
    return whole_columns ? workspace.excluded : workspace.kept;
  }
  const uint64_t* codes_exclude() const {
    return options.scope == Scope::kBatch ? workspace.excluded : workspace.kept;
  }

  void MarkKept(std::span<const int32_t> kept_index) const {
    std::fill_n(workspace.kept, words, 0);
    for (const int32_t k : kept_index) workspace.kept[k / 64] |= uint64_t{1} << (k % 64);
  }

  void Run() const {
    if (options.scope == Scope::kBatch) FindOutlierColumns();
    if (options.range_over == RangeOver::kTensor) {
      ForRowGroups([&](size_t begin, size_t end) { RangeRows(range_exclude(), begin, end); });
      MergeRanges();
      ForRowGroups([&](size_t begin, size_t end) { EncodeRows(codes_exclude(), begin, end); });
    } else {
      ForRowGroups([&](size_t begin, size_t end) {
        RangeRows(range_exclude(), begin, end);
        EncodeRows(codes_exclude(), begin, end);
      });
    }
  }

  void RunRanges(float* ranges) const {
    // Below threshold the outlier entries leave themselves out.
    if (range_exclude() == workspace.excluded) FindOutlierColumns();
    ForRowGroups([&](size_t begin, size_t end) { RangeRows(range_exclude(), begin, end); });
    if (options.range_over == RangeOver::kTensor) MergeRanges();
    for (size_t m = 0; m < x.tokens; ++m) ranges[m] = -workspace.lo[m];
    std::copy_n(workspace.hi, x.tokens, ranges + x.tokens);
  }

  void RunCodes(const float* ranges) const {
    if (options.scope == Scope::kBatch) FindOutlierColumns();
    for (size_t m = 0; m < x.tokens; ++m) workspace.lo[m] = -ranges[m];
    std::copy_n(ranges + x.tokens, x.tokens, workspace.hi);
    ForRowGroups([&](size_t begin, size_t end) { EncodeRows(codes_exclude(), begin, end); });
  }
};

// What the calls have in common: checks, then body(the Quantization) where there are rows.
template <class Body>
KernelStatus WithQuantization(const CpuKernels& kernels, const ActivationView& x,
                              const ActivationOptions& options, std::span<const int32_t> kept_index,
                              const ParallelFor& parallel, void* workspace, size_t workspace_bytes,
                              Body&& body) {
  if (!IsValid(options) || !IsValid(x) || !IsAscendingBelow(kept_index, x.in_features))
    return KernelStatus::kInvalidArgument;
  const size_t needed = QuantizeWorkspaceBytes(x.tokens, x.in_features, options);
  if (needed == SIZE_MAX || workspace_bytes < needed) return KernelStatus::kWorkspaceTooSmall;
  if (needed != 0 && (workspace == nullptr || !IsAligned64(workspace)))
    return KernelStatus::kInvalidArgument;

  const Workspace pieces = Carve(workspace, x.tokens, x.in_features, options);
  const size_t words = WordsOf(x.in_features);
  const Quantization call{
      kernels, x, options, parallel, pieces, words, options.scope == Scope::kToken ? words : 0};
  if (x.tokens == 0) return KernelStatus::kOk;
  call.MarkKept(kept_index);
  body(call);
  return KernelStatus::kOk;
}

// Points into the workspace of a call that has run.
QuantizedActivations ResultOf(const ActivationView& x, const ActivationOptions& options,
                              std::span<const int32_t> kept_index, void* workspace) {
  const Workspace pieces = Carve(workspace, x.tokens, x.in_features, options);
  return {x,
          options,
          pieces.codes,
          CodeStride(x.in_features),
          pieces.scale,
          pieces.zero_point,
          pieces.code_sum,
          pieces.outliers,
          options.scope == Scope::kToken ? WordsOf(x.in_features) : 0,
          kept_index.size(),
          kept_index.data()};
}

// Ranges are what FindRanges gives: others have no codes.
bool AreRanges(const float* ranges, size_t tokens) {
  return std::all_of(ranges, ranges + 2 * tokens,
                     [](float bound) { return bound >= 0.0f && std::isfinite(bound); });
}

}  // namespace

size_t QuantizeWorkspaceBytes(size_t tokens, size_t in_features, const ActivationOptions& options) {
  return Carve(nullptr, tokens, in_features, options).bytes;
}

KernelStatus QuantizeActivations(const CpuKernels& kernels, const ActivationView& x,
                                 const ActivationOptions& options,
                                 std::span<const int32_t> kept_index, const ParallelFor& parallel,
                                 void* workspace, size_t workspace_bytes,
                                 QuantizedActivations* quantized) {
  if (quantized == nullptr) return KernelStatus::kInvalidArgument;
  const KernelStatus status =
      WithQuantization(kernels, x, options, kept_index, parallel, workspace, workspace_bytes,
                       [](const Quantization& call) { call.Run(); });
  if (status == KernelStatus::kOk) *quantized = ResultOf(x, options, kept_index, workspace);
  return status;
}

KernelStatus FindRanges(const CpuKernels& kernels, const ActivationView& x,
                        const ActivationOptions& options, std::span<const int32_t> kept_index,
                        const ParallelFor& parallel, void* workspace, size_t workspace_bytes,
                        float* ranges) {
  if (ranges == nullptr && x.tokens != 0) return KernelStatus::kInvalidArgument;
  return WithQuantization(kernels, x, options, kept_index, parallel, workspace, workspace_bytes,
                          [&](const Quantization& call) { call.RunRanges(ranges); });
}

KernelStatus QuantizeWithRanges(const CpuKernels& kernels, const ActivationView& x,
                                const ActivationOptions& options,
                                std::span<const int32_t> kept_index, const float* ranges,
                                const ParallelFor& parallel, void* workspace,
                                size_t workspace_bytes, QuantizedActivations* quantized) {
  const bool has_ranges = x.tokens == 0 || (ranges != nullptr && AreRanges(ranges, x.tokens));
  if (quantized == nullptr || !has_ranges) return KernelStatus::kInvalidArgument;
  const KernelStatus status =
      WithQuantization(kernels, x, options, kept_index, parallel, workspace, workspace_bytes,
                       [&](const Quantization& call) { call.RunCodes(ranges); });
  if (status == KernelStatus::kOk) *quantized = ResultOf(x, options, kept_index, workspace);
  return status;
}

}  // namespace octavo::kernels
