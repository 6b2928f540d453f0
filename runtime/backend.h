// What PreparedLinear asks of the device that it lives on: the CPU's kernels, or the CUDA library.
// Callers have checked operands and options (runtime/checks.h); nothing here allocates or waits
// unless it says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "octavo/kernels.h"
#include "octavo/linear.h"
#include "octavo/result.h"

namespace octavo {

// With what one operation runs.
struct Call {
  kernels::ParallelFor parallel;
  std::span<std::byte> workspace;
  void* stream = nullptr;
};

// Stateless and thread-safe; lives as long as the process.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual size_t workspace_alignment() const = 0;
  // Whether the runtime can make the workspace of a call that brings none.
  virtual bool has_host_workspace() const = 0;
  // The threads of a call that brings none.
  virtual kernels::ParallelFor DefaultParallel() const = 0;

  // Called once, when state->view holds the checked operands in host memory: moves them to where
  // the operations read them. May allocate and wait.
  virtual Status Adopt(PreparedLinear::State* state) const = 0;

  // SIZE_MAX where no address space could hold it.
  virtual size_t QuantizeWorkspaceBytes(const PreparedLinear::State& linear,
                                        size_t tokens) const = 0;
  virtual size_t MultiplyWorkspaceBytes(const PreparedLinear::State& linear, size_t tokens,
                                        const kernels::ParallelFor& parallel) const = 0;

  // Fills what of `quantized` is this backend's own.
  virtual Status Quantize(const PreparedLinear::State& linear, const kernels::ActivationView& x,
                          const kernels::ActivationOptions& options, const Call& call,
                          QuantizedActivations::State* quantized) const = 0;
  virtual Status Multiply(const QuantizedActivations::State& quantized,
                          const PreparedLinear::State& linear, const kernels::OutputView& y,
                          const Call& call) const = 0;

  // Both in one, where this backend has something better than one after the other; else nothing.
  // The workspace is that of both, Quantize's first.
  virtual std::optional<Status> Forward(const PreparedLinear::State&,
                                        const kernels::ActivationView&,
                                        const kernels::ActivationOptions&,
                                        const kernels::OutputView&, const Call&) const {
    return std::nullopt;
  }

  // As QuantizedActivations has them; these may allocate and wait.
  virtual Result<std::vector<int64_t>> OutlierColumns(
      const QuantizedActivations::State& quantized) const = 0;
  virtual Result<int64_t> OutlierEntries(const QuantizedActivations::State& quantized) const = 0;
};

// The one for every CPU table; which table is in the states.
const Backend& CpuBackend();

// Columns and entries that a mask of the CPU's kernels marks. `quantized` has at least one row.
std::vector<int64_t> MarkedColumns(const kernels::QuantizedActivations& quantized);
int64_t MarkedEntries(const kernels::QuantizedActivations& quantized);

}  // namespace octavo
