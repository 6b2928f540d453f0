// The CPU's kernels behind Backend.
#include <algorithm>
#include <bit>

#include "runtime/aligned_buffer.h"
#include "runtime/backend.h"
#include "runtime/default_pool.h"
#include "runtime/state.h"
#include "runtime/translate.h"

namespace octavo {
namespace {

class CpuBackendOnly final : public Backend {
 public:
  size_t workspace_alignment() const override { return kAlignment; }
  bool has_host_workspace() const override { return true; }
  kernels::ParallelFor DefaultParallel() const override { return DefaultParallelFor(); }

  Status Adopt(PreparedLinear::State*) const override { return {}; }

  size_t QuantizeWorkspaceBytes(const PreparedLinear::State& linear, size_t tokens) const override {
    const auto bytes = [&](kernels::Scope scope) {
      kernels::ActivationOptions options;
      options.scope = scope;
      return kernels::QuantizeWorkspaceBytes(tokens, linear.view.in_features, options);
    };
    return std::max(bytes(kernels::Scope::kBatch), bytes(kernels::Scope::kToken));
  }

  size_t MultiplyWorkspaceBytes(const PreparedLinear::State& linear, size_t tokens,
                                const kernels::ParallelFor& parallel) const override {
    return kernels::MultiplyWorkspaceBytes(*linear.kernels, tokens, linear.view, parallel);
  }

  Status Quantize(const PreparedLinear::State& linear, const kernels::ActivationView& x,
                  const kernels::ActivationOptions& options, const Call& call,
                  QuantizedActivations::State* quantized) const override {
    return ToStatus(kernels::QuantizeActivations(*linear.kernels, x, options, *linear.kept_index,
                                                 call.parallel, call.workspace.data(),
                                                 call.workspace.size(), &quantized->quantized));
  }

  Status Multiply(const QuantizedActivations::State& quantized, const PreparedLinear::State& linear,
                  const kernels::OutputView& y, const Call& call) const override {
    return ToStatus(kernels::Multiply(*linear.kernels, quantized.quantized, linear.view, y,
                                      call.parallel, call.workspace.data(), call.workspace.size()));
  }

  Result<std::vector<int64_t>> OutlierColumns(
      const QuantizedActivations::State& quantized) const override {
    return MarkedColumns(quantized.quantized);
  }

  Result<int64_t> OutlierEntries(const QuantizedActivations::State& quantized) const override {
    return MarkedEntries(quantized.quantized);
  }
};

size_t MaskWords(const kernels::QuantizedActivations& q) { return (q.x.in_features + 63) / 64; }

}  // namespace

const Backend& CpuBackend() {
  static const CpuBackendOnly backend;
  return backend;
}

std::vector<int64_t> MarkedColumns(const kernels::QuantizedActivations& q) {
  std::vector<int64_t> columns;
  const size_t mask_rows = q.mask_stride == 0 ? 1 : q.x.tokens;
  for (size_t w = 0; w < MaskWords(q); ++w) {
    uint64_t any = 0;
    for (size_t m = 0; m < mask_rows; ++m) any |= q.outlier_mask[m * q.mask_stride + w];
    for (; any != 0; any &= any - 1)
      columns.push_back(static_cast<int64_t>(w * 64) + std::countr_zero(any));
  }
  return columns;
}

int64_t MarkedEntries(const kernels::QuantizedActivations& q) {
  const bool per_row = q.mask_stride != 0;
  int64_t marked = 0;
  for (size_t m = 0; m < (per_row ? q.x.tokens : 1); ++m) {
    for (size_t w = 0; w < MaskWords(q); ++w)
      marked += std::popcount(q.outlier_mask[m * q.mask_stride + w]);
  }
  return per_row ? marked : marked * static_cast<int64_t>(q.x.tokens);
}

}  // namespace octavo
