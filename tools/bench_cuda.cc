// `octavo bench` on a CUDA device: the library's table on device memory, timed as CUDA graphs.
#include <algorithm>
#include <span>
#include <vector>

#include "octavo/cuda_kernels.h"
#include "octavo/thread_pool.h"
#include "tools/bench_target.h"
#include "tools/device_memory.h"

namespace octavo::tools {
namespace {

constexpr size_t kCopyBytes = size_t{1} << 30;
constexpr double kGraphSeconds = 5e-3;  // a timing is about as long
constexpr int32_t kHotCalls = 16;       // in a graph whose calls share one copy

Status ToStatus(const kernels::CudaTable& table, kernels::CudaStatus status, const char* what) {
  if (status == kernels::CudaStatus::kOk) return Status();
  const ErrorCode code =
      status == kernels::CudaStatus::kOutOfMemory ? ErrorCode::kLimit : ErrorCode::kUnsupported;
  return Status(code, std::string(what) + ": " + table.last_error());
}

struct DeviceLinear {
  kernels::CudaLinear view;
  std::vector<DeviceMemory> memory;
  std::vector<const int8_t*> codes;  // a copy each
  size_t next = 0;
};

struct DeviceCase {
  size_t linear_idx = 0;
  kernels::ActivationView x;
  DeviceMemory x_memory, y_memory, quantize_workspace, multiply_workspace;
};

class CudaTarget : public BenchTarget {
 public:
  CudaTarget(const kernels::CudaTable& table, const BenchSettings& settings,
             const kernels::CudaDeviceInfo& info)
      : table_(table),
        settings_(settings),
        device_(settings.device.index),
        name_(info.name),
        pool_(settings.num_threads),
        parallel_(pool_.parallel_for()) {}

  std::string backend() const override { return ToString(settings_.device); }
  std::string device_name() const override { return name_; }
  int32_t num_threads() const override { return pool_.num_threads(); }
  // Tensor cores truncate, and take an X apart into at most three 16-bit terms.
  kernels::BackendArithmetic arithmetic() const override { return {3, 0x1p-23, false}; }
  const kernels::ParallelFor& parallel() const override { return parallel_; }

  Result<BenchCeilings> MeasureCeilings() override {
    const size_t bytes = BytesToMeasure(kCopyBytes, settings_.seconds);
    double seconds = 0;
    OCTAVO_RETURN_IF_ERROR(
        Check(table_.time_copy(device_, bytes, &seconds), "timing a copy on the device"));
    return BenchCeilings{0, 2.0 * static_cast<double>(bytes) / seconds};
  }

  Status AddLinear(const BenchWeights& weights, size_t copies) override;
  Result<const void*> AddCase(size_t linear_idx, const kernels::ActivationView& x) override;
  Result<double> Time(size_t case_idx) override;

  std::string product(size_t case_idx) const override {
    const DeviceCase& called = cases_[case_idx];
    return table_.product_name(device_, called.x.tokens, linears_[called.linear_idx].view);
  }

 private:
  struct Enqueued {
    CudaTarget* target;
    const DeviceCase* called;
  };

  Status Check(kernels::CudaStatus status, const char* what) const {
    return ToStatus(table_, status, what);
  }
  Result<DeviceMemory> Allocate(size_t bytes) const {
    return DeviceMemory::Allocate(settings_.device, bytes);
  }
  // Device memory with the same values; null where there are none.
  template <typename T>
  Result<const T*> Upload(DeviceLinear* linear, const T* host, size_t count) const {
    if (count == 0) return static_cast<const T*>(nullptr);
    OCTAVO_ASSIGN_OR_RETURN(
        DeviceMemory memory,
        DeviceMemory::Copy(settings_.device, std::as_bytes(std::span(host, count))));
    linear->memory.push_back(std::move(memory));
    return static_cast<const T*>(linear->memory.back().data());
  }
  Status UploadCodes(const kernels::LinearView& host, DeviceLinear* linear) const;
  kernels::CudaStatus Enqueue(const DeviceCase& called, void* stream);
  static kernels::CudaStatus EnqueueHook(void* context, void* stream) {
    const auto* enqueued = static_cast<Enqueued*>(context);
    return enqueued->target->Enqueue(*enqueued->called, stream);
  }

  const kernels::CudaTable& table_;
  const BenchSettings& settings_;
  int32_t device_;
  std::string name_;
  kernels::ThreadPool pool_;
  kernels::ParallelFor parallel_;
  std::vector<DeviceLinear> linears_;
  std::vector<DeviceCase> cases_;
  std::vector<std::byte> y_;
};

Status CudaTarget::UploadCodes(const kernels::LinearView& host, DeviceLinear* linear) const {
  const size_t stride = kernels::CudaCodeStride(host.in_features);
  OCTAVO_ASSIGN_OR_RETURN(DeviceMemory memory, Allocate(host.out_features * stride));
  const kernels::CudaUpload piece{host.codes,       host.out_features, host.in_features,
                                  host.in_features, memory.data(),     stride};
  OCTAVO_RETURN_IF_ERROR(
      Check(table_.upload(device_, &piece, 1, parallel_), "copying to the device"));
  linear->codes.push_back(static_cast<const int8_t*>(memory.data()));
  linear->memory.push_back(std::move(memory));
  return Status();
}

Status CudaTarget::AddLinear(const BenchWeights& weights, size_t copies) {
  const kernels::LinearView host = weights.view();
  DeviceLinear linear;
  while (linear.codes.size() < copies) OCTAVO_RETURN_IF_ERROR(UploadCodes(host, &linear));
  std::vector<uint64_t> mask((host.in_features + 63) / 64);
  for (const int32_t k : weights.kept_index()) mask[k / 64] |= uint64_t{1} << (k % 64);

  kernels::CudaLinear& view = linear.view;
  view.out_features = host.out_features;
  view.in_features = host.in_features;
  view.kept.count = host.num_kept;
  view.kept_type = host.kept_type;
  const size_t kept_values = host.num_kept * host.out_features;
  OCTAVO_ASSIGN_OR_RETURN(view.multiplier, Upload(&linear, host.multiplier, host.out_features));
  OCTAVO_ASSIGN_OR_RETURN(view.code_sum, Upload(&linear, host.code_sum, host.out_features));
  OCTAVO_ASSIGN_OR_RETURN(view.kept.index, Upload(&linear, host.kept_index, host.num_kept));
  OCTAVO_ASSIGN_OR_RETURN(view.kept.mask,
                          Upload(&linear, mask.data(), host.num_kept == 0 ? 0 : mask.size()));
  OCTAVO_ASSIGN_OR_RETURN(
      view.kept_weight,
      Upload(&linear, static_cast<const uint16_t*>(host.kept_weight), kept_values));
  linears_.push_back(std::move(linear));
  return Status();
}

Result<const void*> CudaTarget::AddCase(size_t linear_idx, const kernels::ActivationView& x) {
  DeviceLinear& linear = linears_[linear_idx];
  linear.next = 0;
  DeviceCase called;
  called.linear_idx = linear_idx;
  const size_t quantize_bytes = table_.quantize_workspace_bytes(x.tokens, x.in_features);
  const size_t multiply_bytes = table_.multiply_workspace_bytes(device_, x.tokens, linear.view);
  const size_t x_bytes = x.tokens * x.in_features * kernels::ElementBytes(x.type);
  y_.resize(x.tokens * linear.view.out_features * kernels::ElementBytes(x.type));
  OCTAVO_ASSIGN_OR_RETURN(
      called.x_memory,
      DeviceMemory::Copy(settings_.device, {static_cast<const std::byte*>(x.data), x_bytes}));
  OCTAVO_ASSIGN_OR_RETURN(called.y_memory, Allocate(y_.size()));
  OCTAVO_ASSIGN_OR_RETURN(called.quantize_workspace, Allocate(quantize_bytes));
  OCTAVO_ASSIGN_OR_RETURN(called.multiply_workspace, Allocate(multiply_bytes));
  called.x = x;
  called.x.data = called.x_memory.data();
  cases_.push_back(std::move(called));
  OCTAVO_RETURN_IF_ERROR(Check(Enqueue(cases_.back(), nullptr), "multiplying"));
  OCTAVO_RETURN_IF_ERROR(cases_.back().y_memory.CopyToHost(y_));
  return static_cast<const void*>(y_.data());
}

kernels::CudaStatus CudaTarget::Enqueue(const DeviceCase& called, void* stream) {
  DeviceLinear& linear = linears_[called.linear_idx];
  linear.view.codes = linear.codes[linear.next];
  linear.next = (linear.next + 1) % linear.codes.size();
  kernels::CudaActivations quantized;
  const kernels::CudaStatus status = table_.quantize(
      device_, called.x, settings_.options, linear.view.kept, called.quantize_workspace.data(),
      called.quantize_workspace.bytes(), stream, &quantized);
  if (status != kernels::CudaStatus::kOk) return status;
  return table_.multiply(device_, quantized, linear.view,
                         {called.y_memory.data(), called.x.type, linear.view.out_features},
                         called.multiply_workspace.data(), called.multiply_workspace.bytes(),
                         stream);
}

Result<double> CudaTarget::Time(size_t case_idx) {
  Enqueued enqueued{this, &cases_[case_idx]};
  const auto copies = static_cast<int32_t>(linears_[enqueued.called->linear_idx].codes.size());
  const int32_t per_graph = copies > 1 ? copies : kHotCalls;
  double seconds = 0;
  const auto time = [&](int32_t replays) {
    return Check(table_.time_graph(device_, &EnqueueHook, &enqueued, per_graph, replays, &seconds),
                 "timing a graph");
  };
  OCTAVO_RETURN_IF_ERROR(time(1));
  const double wanted = kGraphSeconds / std::max(seconds * per_graph, 1e-6);
  OCTAVO_RETURN_IF_ERROR(time(static_cast<int32_t>(std::clamp(wanted, 1.0, 1000.0))));
  return seconds;
}

}  // namespace

Result<std::unique_ptr<BenchTarget>> MakeCudaTarget(const BenchSettings& settings) {
  std::string why;
  const kernels::CudaTable* table = CudaLibrary(&why);
  if (table == nullptr) return Status(ErrorCode::kUnsupported, why);
  int32_t count = 0;
  OCTAVO_RETURN_IF_ERROR(ToStatus(*table, table->device_count(&count), "CUDA devices"));
  if (settings.device.index >= count) {
    return Status(ErrorCode::kUnsupported, "no device " + ToString(settings.device) +
                                               "; there are " + std::to_string(count));
  }
  kernels::CudaDeviceInfo info;
  OCTAVO_RETURN_IF_ERROR(ToStatus(*table, table->device_info(settings.device.index, &info),
                                  ToString(settings.device).c_str()));
  if (!info.usable)
    return Status(ErrorCode::kUnsupported, ToString(settings.device) + ": " + info.reason);
  return std::unique_ptr<BenchTarget>(std::make_unique<CudaTarget>(*table, settings, info));
}

}  // namespace octavo::tools
