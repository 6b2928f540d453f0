#include "tests/kernels/cuda/device_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace octavo::kernels {
namespace {

// How the tiled products cut X and truncate. Where weights need several terms, so do X's.
testing::BackendArithmetic ArithmeticOf(const LinearCase& c) {
  testing::BackendArithmetic arithmetic;
  arithmetic.rounding = 0x1p-23;
  if (c.x_type == ElementType::kFloat32) arithmetic.terms_per_x = 3;
  if (c.x_type == ElementType::kFloat16 && !c.kept_index.empty() &&
      c.kept_type != ElementType::kFloat16)
    arithmetic.terms_per_x = 2;
  return arithmetic;
}

template <class T>
size_t BytesOf(const std::vector<T>& values) {
  return values.size() * sizeof(T);
}

}  // namespace

DeviceBuffer::DeviceBuffer(const CudaTable& table, int32_t device, size_t bytes)
    : table_(table), device_(device), bytes_(bytes) {
  const std::vector<unsigned char> paint(bytes + 2 * kBorder, kPaint);
  void* memory = nullptr;
  EXPECT_EQ(table.allocate(device, paint.size(), &memory), CudaStatus::kOk) << table.last_error();
  EXPECT_EQ(table.copy_to_device(device, memory, paint.data(), paint.size(), nullptr),
            CudaStatus::kOk)
      << table.last_error();
  memory_ = static_cast<unsigned char*>(memory);
}

DeviceBuffer::DeviceBuffer(const CudaTable& table, int32_t device, const void* host, size_t bytes)
    : DeviceBuffer(table, device, bytes) {
  if (bytes == 0) return;
  EXPECT_EQ(table.copy_to_device(device, data(), host, bytes, nullptr), CudaStatus::kOk)
      << table.last_error();
}

DeviceBuffer::~DeviceBuffer() {
  for (const size_t offset : {size_t{0}, kBorder + bytes_}) {
    unsigned char border[kBorder] = {};
    Copy(border, memory_ + offset, kBorder);
    for (const unsigned char byte : border) {
      if (byte == kPaint) continue;
      ADD_FAILURE() << "something was written " << (offset == 0 ? "before" : "behind") << " "
                    << bytes_ << " bytes of device memory";
      break;
    }
  }
  table_.release(device_, memory_);
}

std::vector<unsigned char> DeviceBuffer::ToHost() const {
  return ToHost<unsigned char>(data(), bytes_);
}

void DeviceBuffer::Copy(void* to_host, const void* from, size_t bytes) const {
  if (bytes == 0) return;
  EXPECT_EQ(table_.copy_to_host(device_, to_host, from, bytes, nullptr), CudaStatus::kOk)
      << table_.last_error();
}

DeviceCase::DeviceCase(const CudaTable& table, int32_t device, const LinearCase& linear_case)
    : table_(table),
      device_(device),
      case_(linear_case),
      prepared_(*FindCpuKernels("portable", nullptr), linear_case) {
  const reference::QuantizedWeights& weights = prepared_.weights();
  const LinearView host = prepared_.linear_view();
  const size_t out = host.out_features, in = host.in_features, stride = CudaCodeStride(in);
  std::vector<int8_t> codes(out * stride);
  for (size_t n = 0; n < out; ++n)
    std::copy_n(weights.codes.begin() + static_cast<ptrdiff_t>(n * in), in,
                codes.data() + n * stride);
  std::vector<uint64_t> mask(stride / 64);
  for (const int32_t k : case_.kept_index) mask[k / 64] |= uint64_t{1} << (k % 64);

  linear_.out_features = out;
  linear_.in_features = in;
  linear_.codes = static_cast<const int8_t*>(Keep(codes.data(), codes.size()));
  linear_.multiplier = static_cast<const float*>(Keep(host.multiplier, 4 * out));
  linear_.code_sum = static_cast<const int32_t*>(Keep(host.code_sum, 4 * out));
  if (host.zero_point != nullptr)
    linear_.zero_point = static_cast<const int32_t*>(Keep(host.zero_point, 4 * out));
  if (host.num_kept != 0) {
    linear_.kept.count = host.num_kept;
    linear_.kept.index = static_cast<const int32_t*>(Keep(host.kept_index, 4 * host.num_kept));
    linear_.kept.mask = static_cast<const uint64_t*>(Keep(mask.data(), BytesOf(mask)));
    linear_.kept_weight =
        Keep(host.kept_weight, host.num_kept * out * ElementBytes(host.kept_type));
    linear_.kept_type = host.kept_type;
  }
  if (host.bias != nullptr) linear_.bias = Keep(host.bias, out * ElementBytes(host.bias_type));
  linear_.bias_type = host.bias_type;

  const ActivationView x = prepared_.x_view();
  const size_t x_elements = x.tokens == 0 ? 0 : (x.tokens - 1) * x.row_stride + x.in_features;
  x_ = static_cast<unsigned char*>(Keep(x.data, x_elements * ElementBytes(x.type)));
  workspace_ =
      std::make_unique<DeviceBuffer>(table, device, table.quantize_workspace_bytes(x.tokens, in));
}

DeviceCase::~DeviceCase() = default;

void* DeviceCase::Keep(const void* host, size_t bytes) {
  buffers_.push_back(std::make_unique<DeviceBuffer>(table_, device_, host, bytes));
  return buffers_.back()->data();
}

ActivationView DeviceCase::Rows(size_t first, size_t count) {
  ActivationView x = prepared_.x_view();
  x.data = x_ + first * x.row_stride * ElementBytes(x.type);
  x.tokens = count;
  return x;
}

CudaActivations DeviceCase::Quantize(size_t first, size_t count, void* stream) {
  CudaActivations quantized;
  EXPECT_EQ(table_.quantize(device_, Rows(first, count), prepared_.options(), linear_.kept,
                            workspace_->data(), workspace_->bytes(), stream, &quantized),
            CudaStatus::kOk)
      << table_.last_error();
  return quantized;
}

template <class Body>
std::vector<unsigned char> DeviceCase::Output(size_t tokens, Body&& multiply) {
  const size_t out = linear_.out_features;
  const size_t stride = out + case_.y_extra_stride, element = ElementBytes(case_.y_type);
  const DeviceBuffer y(table_, device_, tokens == 0 ? 0 : ((tokens - 1) * stride + out) * element);
  EXPECT_EQ(multiply(OutputView{y.data(), case_.y_type, stride}), CudaStatus::kOk)
      << table_.last_error();
  const std::vector<unsigned char> bytes = y.ToHost();
  for (size_t m = 0; m + 1 < tokens; ++m) {
    for (size_t i = (m * stride + out) * element; i < (m + 1) * stride * element; ++i)
      EXPECT_EQ(bytes[i], DeviceBuffer::kPaint) << "behind row " << m << " of y";
  }
  return bytes;
}

std::vector<unsigned char> DeviceCase::Multiply(const CudaActivations& quantized) {
  return Output(quantized.x.tokens, [&](const OutputView& y) {
    return table_.multiply(device_, quantized, linear_, y, nullptr, 0, nullptr);
  });
}

std::vector<unsigned char> DeviceCase::Forward(size_t first, size_t count) {
  return Output(count, [&](const OutputView& y) {
    return table_.forward(device_, Rows(first, count), prepared_.options(), linear_, y,
                          workspace_->data(), workspace_->bytes(), nullptr);
  });
}

std::vector<int64_t> DeviceCase::Accumulate(const CudaActivations& quantized) {
  const size_t count = quantized.x.tokens * linear_.out_features;
  const DeviceBuffer acc(table_, device_, count * sizeof(int64_t));
  EXPECT_EQ(
      table_.accumulate(device_, quantized, linear_, acc.data<int64_t>(), nullptr, 0, nullptr),
      CudaStatus::kOk)
      << table_.last_error();
  return acc.ToHost<int64_t>(acc.data(), count);
}

void DeviceCase::CheckActivations(const CudaActivations& q,
                                  const reference::QuantizedRows& expected) const {
  const size_t tokens = expected.tokens, in = expected.in_features;
  const auto scale = workspace_->ToHost<float>(q.scale, tokens);
  const auto zero_point = workspace_->ToHost<int32_t>(q.zero_point, tokens);
  const auto code_sum = workspace_->ToHost<int32_t>(q.code_sum, tokens);
  const auto codes = workspace_->ToHost<uint8_t>(q.codes, tokens * q.code_stride);
  const bool symmetric = q.options.activations == Activations::kSymmetric;
  for (size_t m = 0; m < tokens; ++m) {
    ASSERT_EQ(std::bit_cast<uint32_t>(scale[m]), std::bit_cast<uint32_t>(expected.scale[m]))
        << "row " << m << ": s = " << scale[m] << ", expected " << expected.scale[m];
    ASSERT_EQ(zero_point[m], expected.zero_point[m]) << "row " << m;
    int32_t sum = 0;
    for (size_t k = 0; k < q.code_stride; ++k) {
      const uint8_t byte = codes[m * q.code_stride + k];
      const int32_t code = symmetric ? static_cast<int8_t>(byte) : byte;
      ASSERT_EQ(code, k < in ? expected.codes[m * in + k] : 0) << "row " << m << ", column " << k;
      sum += code;
    }
    ASSERT_EQ(code_sum[m], sum) << "row " << m;
  }
  const auto count = workspace_->ToHost<int32_t>(q.num_outlier_columns, 1);
  ASSERT_EQ(static_cast<size_t>(count[0]), expected.outlier_columns.size());
  ASSERT_EQ(workspace_->ToHost<int32_t>(q.outlier_columns, expected.outlier_columns.size()),
            expected.outlier_columns);
}

void DeviceCase::Check() {
  const size_t tokens = case_.x.rows, out = linear_.out_features;
  const reference::QuantizedRows rows =
      reference::QuantizeActivations(prepared_.x(), prepared_.options(), case_.kept_index);
  const CudaActivations quantized = Quantize(0, tokens);
  if (tokens != 0) {
    ASSERT_NO_FATAL_FAILURE(CheckActivations(quantized, rows));
  }

  const std::vector<int64_t> expected_acc = reference::Accumulate(rows, prepared_.weights());
  const std::vector<int64_t> acc = Accumulate(quantized);
  for (size_t i = 0; i < acc.size(); ++i)
    ASSERT_EQ(acc[i], expected_acc[i]) << "acc[" << i / out << "][" << i % out << "]";

  const std::vector<reference::ExactOutput> exact = reference::MultiplyExactly(
      prepared_.x(), rows, prepared_.weights(), prepared_.kept(), prepared_.bias());
  const std::vector<unsigned char> y = Multiply(quantized);
  ASSERT_EQ(Forward(0, tokens), y) << "forward differs from quantize and multiply";
  const size_t stride = out + case_.y_extra_stride, element = ElementBytes(case_.y_type);
  for (size_t i = 0; i < exact.size(); ++i) {
    const float value =
        testing::LoadElement(&y[(i / out * stride + i % out) * element], case_.y_type);
    ASSERT_TRUE(testing::IsWithinBound(value, case_.y_type, exact[i], ArithmeticOf(case_)))
        << "y[" << i / out << "][" << i % out << "]: " << testing::DescribeOutput(value, exact[i]);
  }
}

void CheckOnDevice(const CudaTable& table, int32_t device, const LinearCase& linear_case) {
  SCOPED_TRACE(linear_case.Describe());
  DeviceCase device_case(table, device, linear_case);
  device_case.Check();
}

}  // namespace octavo::kernels
