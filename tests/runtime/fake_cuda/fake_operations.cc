#include "tests/runtime/fake_cuda/fake_operations.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/cuda/error.h"
#include "tests/runtime/fake_cuda/fake_device.h"

namespace octavo::testing {
namespace {

using cuda::Fail;
using namespace kernels;  // NOLINT(google-build-using-namespace): the fake speaks their language

constexpr size_t kAlignment = 256;
constexpr unsigned char kScratchPaint = 0xEE;

const CpuKernels& Portable() { return *FindCpuKernels("portable", nullptr); }

size_t RoundUp256(size_t bytes) {
  return bytes > SIZE_MAX - 255
             ? SIZE_MAX
             : bytes / kAlignment * kAlignment + (bytes % kAlignment ? kAlignment : 0);
}

CudaStatus CheckWorkspace(int32_t device, const void* workspace, size_t bytes, size_t needed) {
  if (bytes < needed)
    return Fail(CudaStatus::kWorkspaceTooSmall, "the workspace has " + std::to_string(bytes) +
                                                    " bytes of " + std::to_string(needed));
  if (reinterpret_cast<uintptr_t>(workspace) % kAlignment != 0)
    return Fail(CudaStatus::kInvalidArgument, "the workspace is not aligned to 256 bytes");
  return CheckOwned(device, workspace, bytes, "workspace");
}

size_t ExtentBytes(size_t rows, size_t columns, size_t stride, ElementType type) {
  return rows == 0 ? 0 : ((rows - 1) * stride + columns) * ElementBytes(type);
}

CudaStatus CheckArray(int32_t device, const void* array, size_t bytes, const char* name) {
  if (bytes != 0 && reinterpret_cast<uintptr_t>(array) % 16 != 0)
    return Fail(CudaStatus::kInvalidArgument, std::string(name) + " is not aligned to 16 bytes");
  return CheckOwned(device, array, bytes, name);
}

CudaStatus CheckKept(int32_t device, const CudaKeptColumns& kept, size_t in_features) {
  OCTAVO_RETURN_IF_FAILED(
      CheckArray(device, kept.index, kept.count * sizeof(int32_t), "kept.index"));
  if (kept.count == 0) {
    return kept.mask == nullptr ? CudaStatus::kOk
                                : Fail(CudaStatus::kInvalidArgument, "a mask of no kept columns");
  }
  const size_t words = CudaCodeStride(in_features) / 64;
  OCTAVO_RETURN_IF_FAILED(CheckArray(device, kept.mask, words * sizeof(uint64_t), "kept.mask"));
  std::vector<uint64_t> mask(words);
  for (size_t i = 0; i < kept.count; ++i) {
    const auto k = static_cast<size_t>(kept.index[i]);
    if (k >= in_features) return Fail(CudaStatus::kInvalidArgument, "kept.index is out of range");
    mask[k / 64] |= uint64_t{1} << (k % 64);
  }
  return std::equal(mask.begin(), mask.end(), kept.mask)
             ? CudaStatus::kOk
             : Fail(CudaStatus::kInvalidArgument, "kept.mask is not that of kept.index");
}

CudaStatus CheckLinear(int32_t device, const CudaLinear& linear) {
  const size_t out = linear.out_features, in = linear.in_features;
  const size_t stride = CudaCodeStride(in);
  OCTAVO_RETURN_IF_FAILED(CheckArray(device, linear.codes, out * stride, "codes"));
  OCTAVO_RETURN_IF_FAILED(CheckArray(device, linear.multiplier, out * 4, "multiplier"));
  OCTAVO_RETURN_IF_FAILED(CheckArray(device, linear.code_sum, out * 4, "code_sum"));
  if (linear.zero_point != nullptr)
    OCTAVO_RETURN_IF_FAILED(CheckArray(device, linear.zero_point, out * 4, "zero_point"));
  if (linear.bias != nullptr)
    OCTAVO_RETURN_IF_FAILED(
        CheckArray(device, linear.bias, out * ElementBytes(linear.bias_type), "bias"));
  OCTAVO_RETURN_IF_FAILED(CheckKept(device, linear.kept, in));
  OCTAVO_RETURN_IF_FAILED(CheckArray(device, linear.kept_weight,
                                     linear.kept.count * out * ElementBytes(linear.kept_type),
                                     "kept_weight"));
  for (size_t n = 0; n < out; ++n) {
    const int8_t* row = linear.codes + n * stride;
    if (std::any_of(row + in, row + stride, [](int8_t code) { return code != 0; }))
      return Fail(CudaStatus::kInvalidArgument, "codes are not padded with 0");
  }
  return CudaStatus::kOk;
}

// The linear as the portable kernels read it.
struct TightLinear {
  explicit TightLinear(const CudaLinear& linear) : codes(linear.out_features * linear.in_features) {
    const size_t in = linear.in_features, stride = CudaCodeStride(in);
    for (size_t n = 0; n < linear.out_features && in != 0; ++n)
      std::memcpy(codes.data() + n * in, linear.codes + n * stride, in);
    view.out_features = linear.out_features;
    view.in_features = in;
    view.codes = codes.data();
    view.multiplier = linear.multiplier;
    view.code_sum = linear.code_sum;
    view.zero_point = linear.zero_point;
    view.num_kept = linear.kept.count;
    view.kept_index = linear.kept.index;
    view.kept_weight = linear.kept_weight;
    view.kept_type = linear.kept_type;
    view.bias = linear.bias;
    view.bias_type = linear.bias_type;
  }
  std::vector<int8_t> codes;
  LinearView view;
};

// Activations quantized by the portable kernels.
class HostQuantized {
 public:
  HostQuantized(const ActivationView& x, const ActivationOptions& options,
                const CudaKeptColumns& kept)
      : memory_(kernels::QuantizeWorkspaceBytes(x.tokens, x.in_features, options) + 64) {
    void* aligned = memory_.data();
    size_t space = memory_.size();
    std::align(64, space - 64, aligned, space);
    status_ = QuantizeActivations(Portable(), x, options, {kept.index, kept.count}, SerialFor(),
                                  aligned, memory_.size() - 64, &quantized_);
  }
  bool ok() const { return status_ == KernelStatus::kOk; }
  const QuantizedActivations& operator*() const { return quantized_; }
  const QuantizedActivations* operator->() const { return &quantized_; }

  std::vector<int32_t> OutlierColumns() const {
    std::vector<int32_t> columns;
    const size_t words = (quantized_.x.in_features + 63) / 64;
    const size_t rows = quantized_.mask_stride == 0 ? 1 : quantized_.x.tokens;
    for (size_t w = 0; w < words; ++w) {
      uint64_t any = 0;
      for (size_t m = 0; m < rows; ++m)
        any |= quantized_.outlier_mask[m * quantized_.mask_stride + w];
      for (; any != 0; any &= any - 1)
        columns.push_back(static_cast<int32_t>(w * 64) + std::countr_zero(any));
    }
    return columns;
  }

 private:
  std::vector<std::byte> memory_;
  QuantizedActivations quantized_;
  KernelStatus status_ = KernelStatus::kOk;
};

// The writable twin of what CudaActivations points at.
struct Places {
  uint8_t* codes;
  float* scale;
  int32_t *zero_point, *code_sum, *outlier_columns, *num_outlier_columns;
};

// `begin` null: only counts. Returns the bytes.
size_t Carve(size_t tokens, size_t in_features, std::byte* begin, Places* places) {
  size_t bytes = 0;
  const auto take = [&](size_t count, size_t element_bytes) {
    void* place = begin == nullptr ? nullptr : begin + bytes;
    bytes = SaturatingAdd(bytes, RoundUp256(SaturatingMul(count, element_bytes)));
    return place;
  };
  places->codes = static_cast<uint8_t*>(take(tokens, CudaCodeStride(in_features)));
  places->scale = static_cast<float*>(take(tokens, 4));
  places->zero_point = static_cast<int32_t*>(take(tokens, 4));
  places->code_sum = static_cast<int32_t*>(take(tokens, 4));
  places->outlier_columns = static_cast<int32_t*>(take(in_features, 4));
  const size_t before_last = bytes;
  places->num_outlier_columns = static_cast<int32_t*>(take(1, 4));
  // The last one is not padded: what comes after it in a shared workspace must be aligned by
  // others.
  return SaturatingAdd(before_last, sizeof(int32_t));
}

void Store(const HostQuantized& from, const Places& to) {
  const size_t tokens = from->x.tokens, in = from->x.in_features, stride = CudaCodeStride(in);
  for (size_t m = 0; m < tokens; ++m) {
    uint8_t* row = to.codes + m * stride;
    if (in != 0) std::memcpy(row, from->codes + m * from->code_stride, in);
    std::fill(row + in, row + stride, uint8_t{0});
  }
  std::copy_n(from->scale, tokens, to.scale);
  std::copy_n(from->zero_point, tokens, to.zero_point);
  std::copy_n(from->code_sum, tokens, to.code_sum);
  const std::vector<int32_t> columns = from.OutlierColumns();
  std::copy(columns.begin(), columns.end(), to.outlier_columns);
  *to.num_outlier_columns = static_cast<int32_t>(columns.size());
}

bool IsStored(const CudaActivations& q, const HostQuantized& expected) {
  const size_t tokens = q.x.tokens, in = q.x.in_features;
  for (size_t m = 0; m < tokens && in != 0; ++m) {
    if (std::memcmp(q.codes + m * q.code_stride, expected->codes + m * expected->code_stride, in) !=
        0)
      return false;
  }
  const std::vector<int32_t> columns = expected.OutlierColumns();
  return std::memcmp(q.scale, expected->scale, tokens * sizeof(float)) == 0 &&
         std::equal(q.zero_point, q.zero_point + tokens, expected->zero_point) &&
         std::equal(q.code_sum, q.code_sum + tokens, expected->code_sum) &&
         *q.num_outlier_columns == static_cast<int32_t>(columns.size()) &&
         std::equal(columns.begin(), columns.end(), q.outlier_columns);
}

// What multiply and accumulate share: `compute` gets host operands once the stream gets there.
CudaStatus EnqueueProduct(
    int32_t device, const CudaActivations& quantized, const CudaLinear& linear, void* workspace,
    size_t workspace_bytes, void* stream,
    std::function<KernelStatus(const QuantizedActivations&, const LinearView&, void*, size_t)>
        compute) {
  if (quantized.x.in_features != linear.in_features || quantized.kept.count != linear.kept.count)
    return Fail(CudaStatus::kInvalidArgument, "activations of another linear");
  const size_t scratch = testing::MultiplyWorkspaceBytes(device, quantized.x.tokens, linear);
  OCTAVO_RETURN_IF_FAILED(CheckWorkspace(device, workspace, workspace_bytes, scratch));
  OCTAVO_RETURN_IF_FAILED(CheckLinear(device, linear));
  return Enqueue(device, stream, [=]() -> std::string {
    std::memset(workspace, kScratchPaint, scratch);
    const HostQuantized again(quantized.x, quantized.options, quantized.kept);
    if (!again.ok() || !IsStored(quantized, again))
      return "what quantize left in the workspace, or x, was overwritten before multiply";
    const TightLinear tight(linear);
    const size_t bytes =
        kernels::MultiplyWorkspaceBytes(Portable(), quantized.x.tokens, tight.view, SerialFor());
    std::vector<std::byte> memory(bytes + 64);
    void* aligned = memory.data();
    size_t space = memory.size();
    std::align(64, bytes, aligned, space);
    return compute(*again, tight.view, aligned, bytes) == KernelStatus::kOk
               ? ""
               : "the portable kernels refuse the product";
  });
}

}  // namespace

size_t QuantizeWorkspaceBytes(size_t tokens, size_t in_features) {
  Places places;
  return Carve(tokens, in_features, nullptr, &places);
}

size_t MultiplyWorkspaceBytes(int32_t, size_t tokens, const CudaLinear&) {
  return RoundUp256(SaturatingAdd(SaturatingMul(tokens, 16), 1));
}

CudaStatus Quantize(int32_t device, const ActivationView& x, const ActivationOptions& options,
                    const CudaKeptColumns& kept, void* workspace, size_t workspace_bytes,
                    void* stream, CudaActivations* quantized) {
  OCTAVO_RETURN_IF_FAILED(CheckWorkspace(device, workspace, workspace_bytes,
                                         testing::QuantizeWorkspaceBytes(x.tokens, x.in_features)));
  OCTAVO_RETURN_IF_FAILED(
      CheckOwned(device, x.data, ExtentBytes(x.tokens, x.in_features, x.row_stride, x.type), "x"));
  OCTAVO_RETURN_IF_FAILED(CheckKept(device, kept, x.in_features));
  if (options.range_over == RangeOver::kTensor && options.scope == Scope::kToken)
    return Fail(CudaStatus::kInvalidArgument, "a range over all rows in scope token");
  const bool known =
      options.row_rule == RowRule::kInlierColumns || options.row_rule == RowRule::kBelowThreshold;
  if (!known) return Fail(CudaStatus::kInvalidArgument, "an unknown row rule");
  Places places;
  Carve(x.tokens, x.in_features, static_cast<std::byte*>(workspace), &places);
  *quantized = {x,
                options,
                places.codes,
                CudaCodeStride(x.in_features),
                places.scale,
                places.zero_point,
                places.code_sum,
                places.outlier_columns,
                places.num_outlier_columns,
                kept};
  return Enqueue(device, stream, [=]() -> std::string {
    const HostQuantized made(x, options, kept);
    if (!made.ok()) return "the portable kernels refuse the activations";
    Store(made, places);
    return "";
  });
}

CudaStatus Multiply(int32_t device, const CudaActivations& quantized, const CudaLinear& linear,
                    const OutputView& y, void* workspace, size_t workspace_bytes, void* stream) {
  OCTAVO_RETURN_IF_FAILED(
      CheckOwned(device, y.data,
                 ExtentBytes(quantized.x.tokens, linear.out_features, y.row_stride, y.type), "y"));
  return EnqueueProduct(device, quantized, linear, workspace, workspace_bytes, stream,
                        [y](const kernels::QuantizedActivations& q, const LinearView& view,
                            void* scratch, size_t bytes) {
                          if (IsAsked("product-fails")) return KernelStatus::kUnsupported;
                          return kernels::Multiply(Portable(), q, view, y, SerialFor(), scratch,
                                                   bytes);
                        });
}

CudaStatus Forward(int32_t device, const kernels::ActivationView& x,
                   const kernels::ActivationOptions& options, const kernels::CudaLinear& linear,
                   const kernels::OutputView& y, void* workspace, size_t workspace_bytes,
                   void* stream) {
  const size_t first = (QuantizeWorkspaceBytes(x.tokens, x.in_features) + 255) / 256 * 256;
  if (workspace_bytes < first)
    return Fail(CudaStatus::kWorkspaceTooSmall, "the workspace is too small for forward");
  kernels::CudaActivations quantized;
  OCTAVO_RETURN_IF_FAILED(
      Quantize(device, x, options, linear.kept, workspace, first, stream, &quantized));
  return Multiply(device, quantized, linear, y, static_cast<unsigned char*>(workspace) + first,
                  workspace_bytes - first, stream);
}

CudaStatus Accumulate(int32_t device, const CudaActivations& quantized, const CudaLinear& linear,
                      int64_t* acc, void* workspace, size_t workspace_bytes, void* stream) {
  OCTAVO_RETURN_IF_FAILED(
      CheckOwned(device, acc, quantized.x.tokens * linear.out_features * sizeof(int64_t), "acc"));
  return EnqueueProduct(device, quantized, linear, workspace, workspace_bytes, stream,
                        [acc](const kernels::QuantizedActivations& q, const LinearView& view,
                              void* scratch, size_t bytes) {
                          return kernels::Accumulate(Portable(), q, view, acc, scratch, bytes);
                        });
}

const char* ProductName(int32_t, size_t, const CudaLinear&) { return "portable"; }

}  // namespace octavo::testing
