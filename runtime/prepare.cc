// From a module of the file to operands that the kernels read.
//
// What costs little is always checked, because the kernels rely on it: scales (R26), the bounds of
// code sums, zero points and kept columns (R29). What needs a pass over all codes (R26's zero rows,
// R27, R28) is checked with check_digests.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>
#include <utility>

#include "octavo/linear.h"
#include "runtime/cuda.h"
#include "runtime/operands.h"
#include "runtime/payload.h"
#include "runtime/slice.h"
#include "runtime/slice_codes.h"
#include "runtime/state.h"
#include "runtime/translate.h"

namespace octavo {
namespace {

constexpr float kSmallestAbsmax = 127 * 0x1p-126f;
constexpr float kSmallestStep = 0x1p-126f;

// Takes whole pages of a file's mapping out of this process's memory; they stay in the page cache,
// and come back where somebody reads them again.
void ReleaseMapped(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

class Preparer {
 public:
  // `reader` or `in_memory`: where the operands are; the other is null.
  Preparer(PreparedLinear::State* state, const format::Reader* reader,
           const Linear::InMemory* in_memory, int64_t expert, const PrepareOptions& options)
      : state_(*state),
        view_(state->view),
        reader_(reader),
        in_memory_(in_memory),
        module_(state->linear.module()),
        scheme_(*state->linear.module().scheme),
        out_(OutRange(state->linear)),
        in_(InRange(state->linear)),
        expert_(static_cast<uint64_t>(expert)),
        check_digests_(options.check_digests),
        parallel_(options.parallel.run != nullptr ? options.parallel
                                                  : state->backend->DefaultParallel()) {}

  Status Run() {
    view_.out_features = out_.count();
    view_.in_features = in_.count();
    if (view_.in_features > kernels::kMaxInFeatures) {
      return {ErrorCode::kLimit, "in_features is " + std::to_string(view_.in_features) +
                                     "; the kernels take at most " +
                                     std::to_string(kernels::kMaxInFeatures)};
    }
    OCTAVO_RETURN_IF_ERROR(LoadCodes());
    OCTAVO_RETURN_IF_ERROR(LoadScales());
    OCTAVO_RETURN_IF_ERROR(LoadCodeSums());
    OCTAVO_RETURN_IF_ERROR(LoadZeroPoints());
    OCTAVO_RETURN_IF_ERROR(LoadKeptColumns());
    OCTAVO_RETURN_IF_ERROR(LoadBias());
    return check_digests_ ? CheckCodes() : Status();
  }

 private:
  PayloadRequest RequestFor(const std::string& tensor, DType dtype) const {
    const uint64_t parts = module_.kind == format::ModuleKind::kExperts ? module_.experts : 1;
    return {tensor, dtype, expert_, parts, check_digests_};
  }

  // Rows [first_row, first_row + num_rows) of a tensor [rows][out_features], cut to the slice's
  // output features.
  Result<Payload> LoadPerFeature(const std::string& tensor, DType dtype, uint64_t rows = 1,
                                 uint64_t first_row = 0, uint64_t num_rows = 1) {
    PayloadRequest request = RequestFor(tensor, dtype);
    request.rows = rows;
    request.row_elements = module_.out_features;
    request.wanted = {first_row, num_rows, out_.begin, out_.count()};
    return Load(request);
  }

  Result<Payload> Load(const PayloadRequest& request) {
    if (in_memory_ != nullptr) return in_memory_->Load(request.tensor);
    return Counted(LoadPayload(*reader_, request));
  }

  Result<Payload> LoadStoredCodes(kernels::WeightLayout* stored) {
    if (in_memory_ != nullptr) return in_memory_->Load(scheme_.codes);
    return Counted(LoadCodeSlice(*reader_, RequestFor(scheme_.codes, DType::kI8),
                                 {module_.out_features, module_.in_features, out_, in_}, stored));
  }

  Result<Payload> Counted(Result<Payload> payload) {
    if (payload.ok()) state_.bytes_read += payload->read_bytes;
    return payload;
  }

  template <typename T>
  const T* Keep(Payload payload) {
    const T* data = payload.as<T>();
    state_.owned.push_back(std::move(payload.owned));
    return data;
  }

  Status LoadCodes() {
    const size_t out = view_.out_features, in = view_.in_features;
    view_.layout =
        state_.kernels != nullptr ? state_.kernels->layout : kernels::WeightLayout::kPlain;
    kernels::WeightLayout stored = ToKernels(scheme_.layout);
    OCTAVO_ASSIGN_OR_RETURN(Payload codes, LoadStoredCodes(&stored));
    if (stored != kernels::WeightLayout::kPlain && stored != view_.layout) {
      OCTAVO_ASSIGN_OR_RETURN(AlignedBuffer plain, AlignedBuffer::Allocate(out * in));
      kernels::UnpackCodes(stored, codes.as<int8_t>(), out, in, plain.as<int8_t>());
      codes = {plain.span(), std::move(plain), 0};
    }
    if (stored != view_.layout && view_.layout != kernels::WeightLayout::kPlain) {
      OCTAVO_ASSIGN_OR_RETURN(AlignedBuffer packed,
                              AlignedBuffer::Allocate(kernels::LayoutBytes(view_.layout, out, in)));
      kernels::PackCodes(view_.layout, codes.as<int8_t>(), out, in, packed.as<int8_t>(), parallel_);
      const bool is_mapped = in_memory_ == nullptr && codes.owned.bytes() == 0;
      if (is_mapped) ReleaseMapped(codes.bytes);
      codes = {packed.span(), std::move(packed), 0};
    }
    view_.codes = Keep<int8_t>(std::move(codes));
    return {};
  }

  Status LoadScales() {
    OCTAVO_ASSIGN_OR_RETURN(Payload scales, LoadPerFeature(scheme_.scales, DType::kF32));
    const bool is_absmax = scheme_.convention == format::ScaleConvention::kAbsmax;
    const float smallest = is_absmax ? kSmallestAbsmax : kSmallestStep;
    const float* stored = scales.as<float>();
    for (size_t n = 0; n < view_.out_features; ++n) {
      const bool is_zero = stored[n] == 0 && !std::signbit(stored[n]);
      if (is_zero || (stored[n] >= smallest && std::isfinite(stored[n]))) continue;
      return Broken(scheme_.scales, n, std::to_string(stored[n]) + " is no scale (R26)");
    }
    if (!is_absmax) {
      view_.multiplier = Keep<float>(std::move(scales));
      return {};
    }
    OCTAVO_ASSIGN_OR_RETURN(AlignedBuffer multiplier,
                            AlignedBuffer::Allocate(view_.out_features * sizeof(float)));
    std::transform(stored, stored + view_.out_features, multiplier.as<float>(),
                   [](float absmax) { return absmax / 127.0f; });
    view_.multiplier = multiplier.as<float>();
    state_.owned.push_back(std::move(multiplier));
    return {};
  }

  // The file's sums are of whole rows, and operands in memory may have none.
  Status SumCodes() {
    OCTAVO_ASSIGN_OR_RETURN(AlignedBuffer sums,
                            AlignedBuffer::Allocate(view_.out_features * sizeof(int32_t)));
    kernels::SumCodes(view_.layout, view_.codes, view_.out_features, view_.in_features,
                      sums.as<int32_t>());
    view_.code_sum = sums.as<int32_t>();
    state_.owned.push_back(std::move(sums));
    return {};
  }

  Status LoadCodeSums() {
    if (IsRowParallel(state_.linear) || scheme_.code_sum.empty()) return SumCodes();
    OCTAVO_ASSIGN_OR_RETURN(Payload sums, LoadPerFeature(scheme_.code_sum, DType::kI32));
    const int64_t largest = 128 * static_cast<int64_t>(view_.in_features);
    const int32_t* stored = sums.as<int32_t>();
    for (size_t n = 0; n < view_.out_features; ++n) {
      if (std::abs(int64_t{stored[n]}) > largest)
        return Broken(scheme_.code_sum, n, std::to_string(stored[n]) + " is no sum of codes (R28)");
    }
    view_.code_sum = Keep<int32_t>(std::move(sums));
    return {};
  }

  Status LoadZeroPoints() {
    if (scheme_.zero_point.empty()) return {};
    OCTAVO_ASSIGN_OR_RETURN(Payload points, LoadPerFeature(scheme_.zero_point, DType::kI32));
    const int32_t* stored = points.as<int32_t>();
    for (size_t n = 0; n < view_.out_features; ++n) {
      if (stored[n] < -128 || stored[n] > 127)
        return Broken(scheme_.zero_point, n,
                      std::to_string(stored[n]) + " is outside [-128, 127] (R29)");
    }
    view_.zero_point = Keep<int32_t>(std::move(points));
    return {};
  }

  Status LoadKeptColumns() {
    auto kept = std::make_shared<std::vector<int32_t>>();
    const auto stored = static_cast<uint64_t>(state_.linear.num_kept_columns());
    if (stored != 0) {
      PayloadRequest request = RequestFor(module_.kept_index, DType::kI32);
      request.row_elements = stored;
      request.wanted = {0, 1, 0, stored};
      OCTAVO_ASSIGN_OR_RETURN(const Payload index, Load(request));
      kept->assign(index.as<int32_t>(), index.as<int32_t>() + stored);
      OCTAVO_RETURN_IF_ERROR(CheckKeptIndex(*kept));
      const uint64_t first = KeepColumnsOfSlice(kept.get());
      OCTAVO_ASSIGN_OR_RETURN(const DType dtype, FloatTypeOf(module_.kept_weight));
      OCTAVO_ASSIGN_OR_RETURN(
          Payload weight, LoadPerFeature(module_.kept_weight, dtype, stored, first, kept->size()));
      view_.kept_weight = Keep<std::byte>(std::move(weight));
      view_.kept_type = *ToKernels(dtype);
    }
    view_.num_kept = kept->size();
    view_.kept_index = kept->data();
    state_.kept_index = std::move(kept);
    return {};
  }

  // Leaves the columns in the slice, counted from its first; returns how many came before them.
  uint64_t KeepColumnsOfSlice(std::vector<int32_t>* kept) const {
    const auto is_before = [](int32_t column, uint64_t end) {
      return static_cast<uint64_t>(column) < end;
    };
    const auto first = std::lower_bound(kept->begin(), kept->end(), in_.begin, is_before);
    const auto end = std::lower_bound(first, kept->end(), in_.end, is_before);
    const auto before = static_cast<uint64_t>(first - kept->begin());
    std::vector<int32_t> columns(first, end);
    for (int32_t& column : columns) column -= static_cast<int32_t>(in_.begin);
    *kept = std::move(columns);
    return before;
  }

  Status CheckKeptIndex(const std::vector<int32_t>& kept) const {
    for (size_t i = 0; i < kept.size(); ++i) {
      const bool in_range = kept[i] >= 0 && static_cast<uint64_t>(kept[i]) < module_.in_features;
      if (!in_range || (i > 0 && kept[i] <= kept[i - 1]))
        return Broken(module_.kept_index, i,
                      "column " + std::to_string(kept[i]) +
                          " is not ascending or not below in_features (R29)");
    }
    return {};
  }

  Status LoadBias() {
    if (module_.bias.empty()) return {};
    OCTAVO_ASSIGN_OR_RETURN(const DType dtype, FloatTypeOf(module_.bias));
    OCTAVO_ASSIGN_OR_RETURN(Payload bias, LoadPerFeature(module_.bias, dtype));
    view_.bias = Keep<std::byte>(std::move(bias));
    view_.bias_type = *ToKernels(dtype);
    return {};
  }

  Result<DType> FloatTypeOf(const std::string& tensor) const {
    if (in_memory_ != nullptr) return in_memory_->DTypeOf(tensor);
    const format::TensorEntry* entry = reader_->FindTensor(tensor);
    if (entry == nullptr)
      return Status(ErrorCode::kInvalidFile, "tensor \"" + tensor + "\" is missing (R30)");
    if (ToKernels(entry->dtype)) return entry->dtype;
    return Status(ErrorCode::kUnsupported, "tensor \"" + tensor + "\" is " +
                                               std::string(DTypeName(entry->dtype)) +
                                               "; the runtime multiplies with F16, BF16 and F32");
  }

  // The checks that need every code (R26, R27, R28).
  Status CheckCodes() const {
    const size_t out = view_.out_features, in = view_.in_features;
    AlignedBuffer unpacked;
    const int8_t* codes = view_.codes;
    if (view_.layout != kernels::WeightLayout::kPlain) {
      OCTAVO_ASSIGN_OR_RETURN(unpacked, AlignedBuffer::Allocate(out * in));
      codes = unpacked.as<int8_t>();
      OCTAVO_RETURN_IF_ERROR(UnpackChecked(unpacked.as<int8_t>()));
    }
    return CheckRows(codes);
  }

  // What lies between and behind the codes of a packed layout takes part in products: it must be 0.
  Status UnpackChecked(int8_t* plain) const {
    const size_t out = view_.out_features, in = view_.in_features;
    const size_t bytes = kernels::LayoutBytes(view_.layout, out, in);
    OCTAVO_ASSIGN_OR_RETURN(const AlignedBuffer again, AlignedBuffer::Allocate(bytes));
    kernels::UnpackCodes(view_.layout, view_.codes, out, in, plain);
    kernels::PackCodes(view_.layout, plain, out, in, again.as<int8_t>());
    const int8_t* end = view_.codes + bytes;
    const int8_t* differs = std::mismatch(view_.codes, end, again.as<int8_t>()).first;
    if (differs == end) return {};
    return Broken(scheme_.codes, static_cast<size_t>(differs - view_.codes),
                  "the padding is not 0 (R27)");
  }

  Status CheckRows(const int8_t* codes) const {
    const size_t out = view_.out_features, in = view_.in_features;
    const bool is_absmax = scheme_.convention == format::ScaleConvention::kAbsmax;
    for (size_t n = 0; n < out; ++n, codes += in) {
      int64_t sum = 0;
      bool any = false, has_lowest = false;
      for (size_t k = 0; k < in; ++k) {
        sum += codes[k];
        any |= codes[k] != 0;
        has_lowest |= codes[k] == -128;
      }
      if (has_lowest && !scheme_.full_range)
        return Broken(scheme_.codes, n, "a code is -128, but full_range is not set (R27)");
      if (sum != view_.code_sum[n])
        return Broken(scheme_.code_sum, n,
                      std::to_string(view_.code_sum[n]) + " is not the sum of the codes, " +
                          std::to_string(sum) + " (R28)");
      if (any && is_absmax && view_.multiplier[n] == 0)
        return Broken(scheme_.codes, n, "the scale is 0, but the codes are not (R26)");
    }
    return {};
  }

  static Status Broken(const std::string& tensor, size_t index, const std::string& what) {
    return {ErrorCode::kInvalidFile,
            "tensor \"" + tensor + "\", index " + std::to_string(index) + ": " + what};
  }

  PreparedLinear::State& state_;
  kernels::LinearView& view_;
  const format::Reader* const reader_;
  const Linear::InMemory* const in_memory_;
  const format::Module& module_;
  const format::SchemeDescriptor& scheme_;
  const FeatureRange out_, in_;  // of the module's features
  const uint64_t expert_;
  const bool check_digests_;
  const kernels::ParallelFor parallel_;
};

// Who multiplies: state->device and the choice of options.cpu.
Status ChooseBackend(const std::string& cpu, PreparedLinear::State* state) {
  const Device device = state->device;
  if (device.type == DeviceType::kCuda) {
    if (!cpu.empty())
      return {ErrorCode::kInvalidArgument,
              "CPU kernels \"" + cpu + "\" were asked for, on device " + ToString(device)};
    OCTAVO_ASSIGN_OR_RETURN(state->backend, FindCudaBackend(device));
    state->backend_name = ToString(device);
    return {};
  }
  if (device != kCpuDevice)
    return {ErrorCode::kUnsupported, "there is no device " + ToString(device) + " with index " +
                                         std::to_string(device.index) +
                                         "; the CPU is device cpu with index 0"};
  std::string why;
  state->kernels =
      cpu.empty() ? kernels::SelectCpuKernels(&why) : kernels::FindCpuKernels(cpu.c_str(), &why);
  if (state->kernels == nullptr) return {ErrorCode::kUnsupported, why};
  state->backend = &CpuBackend();
  state->backend_name = state->kernels->name;
  return {};
}

}  // namespace

Result<PreparedLinear> PreparedLinear::Create(const Linear& linear, Device device,
                                              const PrepareOptions& options) {
  if (IsRowParallel(linear) && device.type != DeviceType::kCpu)
    return Status(ErrorCode::kUnsupported,
                  "a slice of in_features runs on the CPU only so far, not on device " +
                      ToString(device) + "; slices of out_features run on any");
  auto state = std::make_unique<State>(State{linear, device, nullptr, {}, {}, {}});
  OCTAVO_RETURN_IF_ERROR(ChooseBackend(options.cpu, state.get()));
  const format::Reader* reader = linear.in_memory_ == nullptr ? &linear.model_.reader() : nullptr;
  Preparer preparer(state.get(), reader, linear.in_memory_.get(), linear.expert_, options);
  const std::string context =
      (reader == nullptr ? "linear" : reader->path() + ": module") + " \"" + linear.name() + "\"";
  OCTAVO_RETURN_IF_ERROR(preparer.Run().WithContext(context));
  OCTAVO_RETURN_IF_ERROR(state->backend->Adopt(state.get()).WithContext(context));
  return PreparedLinear(std::move(state));
}

}  // namespace octavo
