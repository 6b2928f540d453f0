#include "libquant/module_results.h"

#include <algorithm>
#include <cstring>

#include "octavo/half.h"

namespace octavo::quant {
namespace {

// Overflows in fp16, or loses bits there as a subnormal; 0 does neither.
bool MissesHalf(float value) {
  const uint16_t magnitude = kernels::FloatToHalf(value) & 0x7fffu;
  return magnitude >= 0x7c00u || (magnitude < 0x0400u && value != 0);
}

// fp32 kept weights in 16 bit: fp16 if every value keeps its accuracy there, else bf16.
std::vector<uint16_t> NarrowKept(const std::vector<std::byte>& kept, DType* type) {
  std::vector<float> values(kept.size() / sizeof(float));
  std::memcpy(values.data(), kept.data(), kept.size());
  *type = std::ranges::any_of(values, MissesHalf) ? DType::kBF16 : DType::kF16;
  std::vector<uint16_t> narrow(values.size());
  std::ranges::transform(values, narrow.begin(), [&](float value) {
    return *type == DType::kF16 ? kernels::FloatToHalf(value) : kernels::FloatToBFloat16(value);
  });
  return narrow;
}

template <typename T>
std::span<const std::byte> BytesOf(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

}  // namespace

void ModuleResults::Begin(const ModuleJob& job) {
  *this = ModuleResults();
  scale_.reserve(job.weight.num_rows());
  code_sum_.reserve(job.weight.num_rows());
  kept_.resize(job.kept_index.size() * job.weight.num_rows() * ElementBytes(job.weight.type));
}

void ModuleResults::Add(const ModuleJob& job, const RowResults& rows) {
  const size_t element = ElementBytes(job.weight.type);
  const size_t num_kept = job.kept_index.size();
  const size_t first_row = scale_.size();
  for (size_t row = 0; num_kept > 0 && row < rows.scale.size(); ++row) {
    for (size_t i = 0; i < num_kept; ++i) {
      std::memcpy(&kept_[(i * job.weight.num_rows() + first_row + row) * element],
                  &rows.kept[(row * num_kept + i) * element], element);
    }
  }
  scale_.insert(scale_.end(), rows.scale.begin(), rows.scale.end());
  code_sum_.insert(code_sum_.end(), rows.code_sum.begin(), rows.code_sum.end());
  zero_point_.insert(zero_point_.end(), rows.zero_point.begin(), rows.zero_point.end());
  for (const ErrorSums& row : rows.error) error_.Add(row);
  full_range_ = full_range_ || rows.full_range;
}

void ModuleResults::Put(format::ByteWriter* out) const {
  out->PutVector(scale_);
  out->PutVector(code_sum_);
  out->PutVector(zero_point_);
  out->PutVector(kept_);
  out->Put(error_);
  out->Put(full_range_);
}

void ModuleResults::Get(format::ByteReader* in) {
  scale_ = in->GetVector<float>();
  code_sum_ = in->GetVector<int32_t>();
  zero_point_ = in->GetVector<int32_t>();
  kept_ = in->GetVector<std::byte>();
  error_ = in->Get<ErrorSums>();
  full_range_ = in->Get<bool>();
}

Status ModuleResults::Store(ModuleJob* job, OutputSink* sink) {
  const bool is_step = job->module.scheme->convention == format::ScaleConvention::kStep;
  const auto [low, high] = std::ranges::minmax_element(scale_);
  job->module.error =
      Summarize(error_, is_step, job->weight.num_rows() * job->weight.in_features, *low, *high);
  if (full_range_) job->module.scheme->full_range = true;
  DType kept_type =
      job->weight.type == kernels::ElementType::kFloat32 ? DType::kF32 : job->weight.tensor->dtype;
  if (!job->kept_index.empty() && kept_type == DType::kF32) {
    const std::vector<uint16_t> narrow = NarrowKept(kept_, &kept_type);
    const std::span<const std::byte> bytes = BytesOf(narrow);
    kept_.assign(bytes.begin(), bytes.end());
  }
  const std::vector<TensorSpec> specs = SmallSpecs(*job, kept_type);
  OCTAVO_RETURN_IF_ERROR(sink->PutTensor(specs[0], BytesOf(scale_)));
  OCTAVO_RETURN_IF_ERROR(sink->PutTensor(specs[1], BytesOf(code_sum_)));
  if (!job->module.scheme->zero_point.empty()) {
    OCTAVO_RETURN_IF_ERROR(sink->PutTensor(specs[2], BytesOf(zero_point_)));
  }
  return job->kept_index.empty() ? Status() : StoreKept(*job, specs, sink);
}

Status ModuleResults::StoreKept(const ModuleJob& job, const std::vector<TensorSpec>& specs,
                                OutputSink* sink) {
  OCTAVO_RETURN_IF_ERROR(sink->PutTensor(specs[specs.size() - 2], BytesOf(job.kept_index)));
  return sink->PutTensor(specs.back(), kept_);
}

}  // namespace octavo::quant
