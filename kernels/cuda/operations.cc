#include "kernels/cuda/operations.h"

#include <cmath>
#include <limits>
#include <string>

#include "kernels/cuda/error.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/quantize_activations.h"
#include "octavo/half.h"

namespace octavo::cuda {
namespace {

// Rows and columns are int32 in the kernels, with room for a tile beyond the last one.
constexpr size_t kMaxExtent = size_t{1} << 30;
constexpr int64_t kMaxElements = int64_t{1} << 40;  // of y: tiles are counted in int32

CudaStatus Invalid(const std::string& text) { return Fail(CudaStatus::kInvalidArgument, text); }

bool IsKnown(ElementType type) {
  return type == ElementType::kFloat16 || type == ElementType::kBFloat16 ||
         type == ElementType::kFloat32;
}

CudaStatus CheckWorkspace(const void* workspace, size_t bytes, size_t needed) {
  if (needed == SIZE_MAX || bytes < needed)
    return Fail(CudaStatus::kWorkspaceTooSmall, "the workspace has " + std::to_string(bytes) +
                                                    " bytes, the call needs " +
                                                    std::to_string(needed));
  if (needed != 0 && (workspace == nullptr || reinterpret_cast<uintptr_t>(workspace) % 256 != 0))
    return Invalid("the workspace is null or not aligned to 256 bytes");
  return CudaStatus::kOk;
}

CudaStatus CheckOptions(const ActivationOptions& options) {
  if (!(options.threshold >= 0.0f)) return Invalid("the threshold is negative or NaN");
  if (options.range_over == kernels::RangeOver::kTensor && options.scope == kernels::Scope::kToken)
    return Invalid("a range over all rows does not go with scope token");
  return CudaStatus::kOk;
}

CudaStatus CheckX(const ActivationView& x) {
  if (!IsKnown(x.type)) return Invalid("x has an unknown element type");
  if (x.tokens > kMaxExtent) return Invalid("x has more than 2^30 rows");
  if (x.in_features > kernels::kMaxInFeatures)
    return Invalid("in_features is more than " + std::to_string(kernels::kMaxInFeatures));
  if (x.tokens > 1 && x.row_stride < x.in_features)
    return Invalid("x's row_stride is less than in_features");
  if (x.data == nullptr && x.tokens != 0 && x.in_features != 0) return Invalid("x has no data");
  return CudaStatus::kOk;
}

// Section 3: what IsOutlier of arithmetic.h compares with. Infinity where only non-finite entries
// are outliers.
float OutlierThreshold(const ActivationOptions& options) {
  const float seen = options.via_fp16
                         ? kernels::HalfToFloat(kernels::FloatToHalf(options.threshold))
                         : options.threshold;
  return seen > 0.0f ? seen : std::numeric_limits<float>::infinity();
}

CudaStatus CheckKept(const CudaKeptColumns& kept, size_t in_features) {
  if (kept.count > in_features) return Invalid("more kept columns than in_features");
  if (kept.count != 0 && (kept.index == nullptr || kept.mask == nullptr))
    return Invalid("kept columns without index or mask");
  return CudaStatus::kOk;
}

CudaStatus CheckProduct(const CudaActivations& q, const CudaLinear& linear) {
  if (q.x.in_features != linear.in_features)
    return Invalid("x was quantized with " + std::to_string(q.x.in_features) +
                   " columns; in_features is " + std::to_string(linear.in_features));
  if (q.kept.count != linear.kept.count) return Invalid("x was quantized for other kept columns");
  OCTAVO_RETURN_IF_FAILED(CheckKept(linear.kept, linear.in_features));
  if (linear.kept.count != 0 && linear.kept_weight == nullptr)
    return Invalid("kept columns without weights");
  if (linear.out_features > kMaxExtent) return Invalid("out_features is more than 2^30");
  return CudaStatus::kOk;
}

CudaStatus CheckOutput(const OutputView& y, size_t tokens, size_t out_features) {
  if (!IsKnown(y.type)) return Invalid("y has an unknown element type");
  if (tokens > 1 && y.row_stride < out_features)
    return Invalid("y's row_stride is less than out_features");
  if (y.data == nullptr && tokens != 0 && out_features != 0) return Invalid("y has no data");
  return CudaStatus::kOk;
}

void SetOutput(const OutputView& y, ProductOperands* o) {
  o->y = y.data;
  o->y_stride = static_cast<int64_t>(y.row_stride);
  o->y_type = y.type;
}

CudaStatus Enqueue(const DeviceTraits& device, const ProductOperands& o, void* stream) {
  if (o.tokens == 0 || o.out_features == 0) return CudaStatus::kOk;
  if (int64_t{o.tokens} * o.out_features > kMaxElements)
    return Invalid("y has more than 2^40 elements");
  const ProductPlan plan = PlanProduct(device, o);
  switch (plan.kernel) {
    case ProductKernel::kFewTokens:
      return LaunchFewTokens(o, device, stream);
    case ProductKernel::kWgmma:
      return LaunchProductWgmma(o, plan.tile, stream);
    case ProductKernel::kDeepRows:
      return LaunchDeepRows(o, stream);
    case ProductKernel::kMma:
      break;
  }
  return LaunchProductMma(o, stream);
}

// Everything about a quantization that is checked, and what it fills.
CudaStatus MakeQuantizeCall(const DeviceTraits& device, const ActivationView& x,
                            const ActivationOptions& options, const CudaKeptColumns& kept,
                            void* workspace, size_t workspace_bytes, QuantizeCall* call,
                            CudaActivations* quantized) {
  OCTAVO_RETURN_IF_FAILED(CheckOptions(options));
  OCTAVO_RETURN_IF_FAILED(CheckX(x));
  OCTAVO_RETURN_IF_FAILED(CheckKept(kept, x.in_features));
  OCTAVO_RETURN_IF_FAILED(
      CheckWorkspace(workspace, workspace_bytes, QuantizeWorkspaceBytes(x.tokens, x.in_features)));
  const QuantizePieces pieces = CarveQuantize(workspace, x.tokens, x.in_features);
  *call = {x, options, kept, pieces, OutlierThreshold(options), device.multiprocessors};
  *quantized = {x,
                options,
                pieces.codes,
                kernels::CudaCodeStride(x.in_features),
                pieces.scale,
                pieces.zero_point,
                pieces.code_sum,
                pieces.outlier_columns,
                pieces.num_outlier_columns,
                kept};
  return CudaStatus::kOk;
}

}  // namespace

ProductOperands OperandsOf(const CudaActivations& q, const CudaLinear& linear) {
  ProductOperands o;
  o.tokens = static_cast<int32_t>(q.x.tokens);
  o.in_features = static_cast<int32_t>(linear.in_features);
  o.out_features = static_cast<int32_t>(linear.out_features);
  o.code_stride = static_cast<int32_t>(q.code_stride);
  o.x_codes = q.codes;
  o.x_scale = q.scale;
  o.x_zero_point = q.zero_point;
  o.x_code_sum = q.code_sum;
  o.w_codes = linear.codes;
  o.multiplier = linear.multiplier;
  o.w_code_sum = linear.code_sum;
  o.w_zero_point = linear.zero_point;
  o.bias = linear.bias;
  o.bias_type = linear.bias_type;
  o.x = q.x.data;
  o.x_stride = static_cast<int64_t>(q.x.row_stride);
  o.x_type = q.x.type;
  o.outlier_columns = q.outlier_columns;
  o.num_outlier_columns = q.num_outlier_columns;
  o.kept_index = linear.kept.index;
  o.kept_weight = linear.kept_weight;
  o.num_kept = static_cast<int32_t>(linear.kept.count);
  o.kept_type = linear.kept_type;
  o.by_entry = q.options.scope == kernels::Scope::kToken;
  o.threshold = OutlierThreshold(q.options);
  o.via_fp16 = q.options.via_fp16;
  o.symmetric = q.options.activations == Activations::kSymmetric;
  return o;
}

size_t QuantizeWorkspaceBytes(size_t tokens, size_t in_features) {
  return CarveQuantize(nullptr, tokens, in_features).bytes;
}

// Every product accumulates in registers.
size_t MultiplyWorkspaceBytes(int32_t, size_t, const CudaLinear&) { return 0; }

CudaStatus Quantize(int32_t device, const ActivationView& x, const ActivationOptions& options,
                    const CudaKeptColumns& kept, void* workspace, size_t workspace_bytes,
                    void* stream, CudaActivations* quantized) {
  DeviceTraits traits;
  QuantizeCall call;
  OCTAVO_RETURN_IF_FAILED(GetDeviceTraits(device, &traits));
  OCTAVO_RETURN_IF_FAILED(
      MakeQuantizeCall(traits, x, options, kept, workspace, workspace_bytes, &call, quantized));
  return x.tokens == 0 ? CudaStatus::kOk : LaunchQuantizeActivations(call, stream);
}

CudaStatus Multiply(int32_t device, const CudaActivations& quantized, const CudaLinear& linear,
                    const OutputView& y, void*, size_t, void* stream) {
  DeviceTraits traits;
  OCTAVO_RETURN_IF_FAILED(CheckProduct(quantized, linear));
  OCTAVO_RETURN_IF_FAILED(CheckOutput(y, quantized.x.tokens, linear.out_features));
  OCTAVO_RETURN_IF_FAILED(GetDeviceTraits(device, &traits));
  ProductOperands o = OperandsOf(quantized, linear);
  SetOutput(y, &o);
  return Enqueue(traits, o, stream);
}

CudaStatus Forward(int32_t device, const ActivationView& x, const ActivationOptions& options,
                   const CudaLinear& linear, const OutputView& y, void* workspace,
                   size_t workspace_bytes, void* stream) {
  DeviceTraits traits;
  QuantizeCall call;
  CudaActivations quantized;
  OCTAVO_RETURN_IF_FAILED(GetDeviceTraits(device, &traits));
  OCTAVO_RETURN_IF_FAILED(MakeQuantizeCall(traits, x, options, linear.kept, workspace,
                                           workspace_bytes, &call, &quantized));
  OCTAVO_RETURN_IF_FAILED(CheckProduct(quantized, linear));
  OCTAVO_RETURN_IF_FAILED(CheckOutput(y, x.tokens, linear.out_features));
  if (x.tokens == 0 || linear.out_features == 0) return CudaStatus::kOk;
  ProductOperands o = OperandsOf(quantized, linear);
  SetOutput(y, &o);
  if (PlanProduct(traits, o).kernel == ProductKernel::kFewTokens &&
      FewTokensCanQuantize(call, traits))
    return LaunchQuantizeFewTokens(call, o, traits, stream);
  OCTAVO_RETURN_IF_FAILED(LaunchQuantizeActivations(call, stream));
  return Enqueue(traits, o, stream);
}

CudaStatus Accumulate(int32_t device, const CudaActivations& quantized, const CudaLinear& linear,
                      int64_t* acc, void*, size_t, void* stream) {
  DeviceTraits traits;
  OCTAVO_RETURN_IF_FAILED(CheckProduct(quantized, linear));
  OCTAVO_RETURN_IF_FAILED(GetDeviceTraits(device, &traits));
  if (acc == nullptr && quantized.x.tokens != 0 && linear.out_features != 0)
    return Invalid("acc is null");
  ProductOperands o = OperandsOf(quantized, linear);
  o.raw_acc = acc;
  return Enqueue(traits, o, stream);
}

const char* ProductName(int32_t device, size_t tokens, const CudaLinear& linear) {
  DeviceTraits traits;
  if (GetDeviceTraits(device, &traits) != CudaStatus::kOk) return "none";
  CudaActivations q;
  q.x.tokens = tokens;
  q.code_stride = kernels::CudaCodeStride(linear.in_features);
  return ProductPlanName(PlanProduct(traits, OperandsOf(q, linear)));
}

}  // namespace octavo::cuda
