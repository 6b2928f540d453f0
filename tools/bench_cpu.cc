// `octavo bench` on the CPU: the kernels' table on memory, no file between.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <limits>
#include <vector>

#include "octavo/ceilings.h"
#include "octavo/thread_pool.h"
#include "tools/bench_target.h"
#include "tools/cpu_model.h"

namespace octavo::tools {
namespace {

constexpr size_t kReadBytes = size_t{2} << 30;  // no cache holds as much
constexpr double kPeakSeconds = 0.3;
constexpr double kHotSeconds = 2e-3;  // hot calls are repeated for about as long

// At most a quarter of the machine's memory.
size_t BytesForReading(double seconds) {
  const auto memory =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return BytesToMeasure(std::min(kReadBytes, memory / 4), seconds);
}

struct CpuLinear {
  kernels::LinearView view;
  const BenchWeights* weights = nullptr;
  std::vector<AlignedBytes> codes;  // a copy each
  size_t next = 0;
};

struct CpuCase {
  size_t linear_idx = 0;
  kernels::ActivationView x;
  AlignedBytes quantize_workspace, multiply_workspace;
};

class CpuTarget : public BenchTarget {
 public:
  CpuTarget(const kernels::CpuKernels& table, const BenchSettings& settings)
      : table_(table),
        settings_(settings),
        pool_(settings.num_threads),
        parallel_(pool_.parallel_for()) {}

  std::string backend() const override { return table_.name; }
  std::string device_name() const override { return CpuModel(); }
  int32_t num_threads() const override { return pool_.num_threads(); }
  kernels::BackendArithmetic arithmetic() const override { return {}; }
  const kernels::ParallelFor& parallel() const override { return parallel_; }

  Result<BenchCeilings> MeasureCeilings() override {
    AlignedBytes memory(BytesForReading(settings_.seconds));
    std::memset(memory.data(), 1, memory.size());
    return BenchCeilings{kernels::MeasureInt8Peak(table_, parallel_, kPeakSeconds),
                         kernels::MeasureReadBandwidth(memory.data(), memory.size(), parallel_)};
  }

  Status AddLinear(const BenchWeights& weights, size_t copies) override {
    CpuLinear linear{weights.view(), &weights, {}, 0};
    const size_t bytes =
        kernels::LayoutBytes(table_.layout, linear.view.out_features, linear.view.in_features);
    linear.codes.emplace_back(bytes);
    auto* packed = reinterpret_cast<int8_t*>(linear.codes[0].data());
    if (table_.layout == kernels::WeightLayout::kPlain) {
      std::memcpy(packed, linear.view.codes, bytes);
    } else {
      kernels::PackCodes(table_.layout, linear.view.codes, linear.view.out_features,
                         linear.view.in_features, packed);
    }
    while (linear.codes.size() < copies) {
      linear.codes.emplace_back(bytes);
      std::memcpy(linear.codes.back().data(), packed, bytes);
    }
    linear.view.layout = table_.layout;
    linears_.push_back(std::move(linear));
    return Status();
  }

  Result<const void*> AddCase(size_t linear_idx, const kernels::ActivationView& x) override {
    const CpuLinear& linear = linears_[linear_idx];
    const size_t quantize_bytes =
        kernels::QuantizeWorkspaceBytes(x.tokens, x.in_features, settings_.options);
    const size_t multiply_bytes =
        kernels::MultiplyWorkspaceBytes(table_, x.tokens, linear.view, parallel_);
    const size_t y_bytes = x.tokens * linear.view.out_features * kernels::ElementBytes(x.type);
    if (std::max(quantize_bytes, multiply_bytes) == SIZE_MAX)
      return Status(ErrorCode::kLimit, "so many tokens need more memory than there can be");
    cases_.push_back({linear_idx, x, AlignedBytes(quantize_bytes), AlignedBytes(multiply_bytes)});
    if (y_.size() < y_bytes) y_ = AlignedBytes(y_bytes);
    linears_[linear_idx].next = 0;
    OCTAVO_RETURN_IF_ERROR(Call(cases_.back()));
    return static_cast<const void*>(y_.data());
  }

  Result<double> Time(size_t case_idx) override {
    const CpuCase& called = cases_[case_idx];
    // Cold: one call, whose weights no cache has. Hot: a call that fills the caches first.
    if (!settings_.cold) OCTAVO_RETURN_IF_ERROR(Call(called));
    const auto begin = std::chrono::steady_clock::now();
    double seconds = 0;
    int64_t calls = 0;
    do {
      OCTAVO_RETURN_IF_ERROR(Call(called));
      ++calls;
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    } while (!settings_.cold && seconds < kHotSeconds);
    return seconds / static_cast<double>(calls);
  }

  std::string product(size_t) const override { return ""; }

 private:
  Status Call(const CpuCase& called) {
    CpuLinear& linear = linears_[called.linear_idx];
    linear.view.codes = reinterpret_cast<const int8_t*>(linear.codes[linear.next].data());
    linear.next = (linear.next + 1) % linear.codes.size();
    kernels::QuantizedActivations quantized;
    kernels::KernelStatus status = kernels::QuantizeActivations(
        table_, called.x, settings_.options, linear.weights->kept_index(), parallel_,
        called.quantize_workspace.data(), called.quantize_workspace.size(), &quantized);
    if (status == kernels::KernelStatus::kOk) {
      status = kernels::Multiply(
          table_, quantized, linear.view, {y_.data(), called.x.type, linear.view.out_features},
          parallel_, called.multiply_workspace.data(), called.multiply_workspace.size());
    }
    if (status == kernels::KernelStatus::kOk) return Status();
    return Status(ErrorCode::kUnsupported,
                  "the kernels refuse a call, status " + std::to_string(static_cast<int>(status)));
  }

  const kernels::CpuKernels& table_;
  const BenchSettings& settings_;
  kernels::ThreadPool pool_;
  kernels::ParallelFor parallel_;
  std::vector<CpuLinear> linears_;
  std::vector<CpuCase> cases_;
  AlignedBytes y_;  // of the largest case
};

}  // namespace

Result<std::unique_ptr<BenchTarget>> MakeCpuTarget(const BenchSettings& settings) {
  std::string why;
  const kernels::CpuKernels* table = settings.cpu.empty()
                                         ? kernels::SelectCpuKernels(&why)
                                         : kernels::FindCpuKernels(settings.cpu.c_str(), &why);
  if (table == nullptr) return Status(ErrorCode::kUnsupported, why);
  return std::unique_ptr<BenchTarget>(std::make_unique<CpuTarget>(*table, settings));
}

}  // namespace octavo::tools
