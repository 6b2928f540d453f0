// Where `octavo bench` runs linears: the CPU's kernels or a CUDA device, behind one interface.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "octavo/kernels.h"
#include "octavo/product_check.h"
#include "octavo/result.h"
#include "tools/bench_operands.h"
#include "tools/bench_settings.h"

namespace octavo::tools {

struct BenchCeilings {
  double int8_operations = 0;  // per second; 0: not known
  double read_bytes = 0;       // per second; a device's copy counts bytes read and written
};

// Weights that calls rotate through when they are to be cold: more than caches hold.
inline constexpr size_t kColdBytes = 1'100'000'000;

// Single thread. Every function enqueues nothing that outlasts it.
class BenchTarget {
 public:
  virtual ~BenchTarget() = default;

  virtual std::string backend() const = 0;      // "avx512vnni", "cuda:0"
  virtual std::string device_name() const = 0;  // "AMD EPYC …", "NVIDIA H200"
  virtual int32_t num_threads() const = 0;
  virtual kernels::BackendArithmetic arithmetic() const = 0;
  virtual const kernels::ParallelFor& parallel() const = 0;  // for preparing

  virtual Result<BenchCeilings> MeasureCeilings() = 0;

  // Takes `copies` of a linear. Its index is the number of linears before it.
  virtual Status AddLinear(const BenchWeights& weights, size_t copies) = 0;
  // Makes ready for calls with x, which must outlive this, and makes the first one with the first
  // copy: its y, host memory of x's type with contiguous rows, valid until the next AddCase. Its
  // index is the number of cases before it.
  virtual Result<const void*> AddCase(size_t linear_idx, const kernels::ActivationView& x) = 0;
  // Seconds of one call: quantization and product. Each call takes the next copy.
  virtual Result<double> Time(size_t case_idx) = 0;
  // Which kernel a case runs, where there are several; "" where there is no name for it.
  virtual std::string product(size_t case_idx) const = 0;
};

// Errors: kUnsupported, saying why the device or the kernels cannot be had.
Result<std::unique_ptr<BenchTarget>> MakeCpuTarget(const BenchSettings& settings);
Result<std::unique_ptr<BenchTarget>> MakeCudaTarget(const BenchSettings& settings);

}  // namespace octavo::tools
