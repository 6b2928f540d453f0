#include "tests/runtime/test_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/translate.h"
#include "tests/runtime/device_memory.h"
#include "tests/testing/tolerance.h"
#include "tests/testing/typed_matrix.h"

namespace octavo::testing {
namespace {

using format::ModuleKind;

template <typename T>
void Append(std::vector<std::byte>& bytes, const std::vector<T>& values) {
  const auto* data = reinterpret_cast<const std::byte*>(values.data());
  bytes.insert(bytes.end(), data, data + values.size() * sizeof(T));
}

std::vector<std::byte> Narrow(const std::vector<float>& values, DType dtype) {
  const size_t element_bytes = DTypeBytes(dtype);
  std::vector<std::byte> bytes(values.size() * element_bytes);
  for (size_t i = 0; i < values.size(); ++i)
    StoreElement(values[i], ToElement(dtype),
                 reinterpret_cast<unsigned char*>(bytes.data()) + i * element_bytes);
  return bytes;
}

class ModelWriter {
 public:
  ModelWriter(const std::string& path, const ModelSpec& spec)
      : spec_(spec), writer_(format::Writer::Create(path, spec.writer)) {
    if (!writer_.ok()) throw std::runtime_error(writer_.status().message());
    manifest_.converter = "octavo test";
    manifest_.quantization = spec.quantization;
  }

  void Run() {
    for (const LinearSpec& linear : spec_.linears) Add(linear);
    Must(writer_->BeginBundle(16));
    Tensor("norm.weight", DType::kF32, {4}, std::vector<std::byte>(16));
    format::Module norm;
    norm.name = "norm";
    norm.kind = ModuleKind::kNorm;
    norm.reason = "a norm stays in 16 bit";
    norm.source_tensor = norm.weight = "norm.weight";
    norm.source_dtype = DType::kF32;
    manifest_.modules.push_back(norm);
    const std::string config = "{\"model_type\":\"test\"}";
    Must(writer_->AppendAsset("config.json", std::as_bytes(std::span(config))));
    Must(writer_->Finish(manifest_));
  }

 private:
  static void Must(const Status& status) {
    if (!status.ok()) throw std::runtime_error(status.message());
  }

  void Tensor(const std::string& name, DType dtype, const Shape& shape, std::vector<std::byte> raw,
              uint64_t matrix_rows = 0, uint64_t chunk_rows = 0) {
    if (spec_.spoil) spec_.spoil(name, raw);
    if (chunk_rows == 0) chunk_rows = matrix_rows;
    if (chunk_rows == 0) return Must(writer_->AppendTensor(name, dtype, shape, raw));
    Result<uint32_t> tensor = writer_->AddTensor(name, dtype, shape, matrix_rows, chunk_rows);
    Must(tensor.status());
    const format::TensorEntry& entry = writer_->tensor(*tensor);
    const size_t row_bytes = raw.size() / *shape.NumRows();
    std::vector<std::byte> buffer;
    for (uint64_t i = 0; i < format::NumChunks(entry); ++i) {
      const format::ChunkExtent extent = format::ChunkAt(entry, i);
      auto chunk = writer_->EncodeChunk(
          std::span(raw).subspan(extent.first_row * row_bytes, extent.rows * row_bytes), &buffer);
      Must(chunk.status());
      auto place = writer_->PlaceChunk(*tensor, *chunk);
      Must(place.status());
      Must(writer_->WriteChunk(*place, chunk->data));
    }
    Must(writer_->FinishTensor(*tensor));
  }

  void Add(const LinearSpec& linear) {
    const uint64_t out = linear.weights[0].rows, in = linear.weights[0].cols;
    const uint64_t experts = linear.weights.size();
    std::vector<std::byte> codes, scales, sums, points, bias;
    for (size_t e = 0; e < experts; ++e) {
      const reference::QuantizedWeights q = ReferenceWeights(spec_, linear, e);
      Append(codes, q.codes);
      Append(scales, q.step.empty() ? q.absmax : q.step);
      Append(sums, q.code_sum);
      Append(points, q.zero_point);
      if (!linear.biases.empty()) {
        const auto narrow = Narrow(linear.biases[e], linear.bias_dtype);
        bias.insert(bias.end(), narrow.begin(), narrow.end());
      }
    }
    Must(writer_->BeginBundle(codes.size() + 3 * scales.size() + bias.size()));

    format::Module module;
    module.name = linear.name;
    module.kind = linear.experts ? ModuleKind::kExperts : ModuleKind::kLinear;
    module.quantized = true;
    module.reason = "a linear of the test";
    module.in_features = in;
    module.out_features = out;
    if (linear.experts) module.experts = experts;
    const std::string weight = module.source_tensor = linear.name + ".weight";
    module.source_dtype = DType::kF32;
    module.error = format::ModuleError{};

    const Shape row_shape = linear.experts ? Shape{experts, out} : Shape{out};
    format::SchemeDescriptor scheme;
    scheme.layout = linear.layout;
    scheme.codes = weight;
    AddCodes(linear, weight, std::move(codes));
    const bool is_step = !points.empty() || IsZeropoint();
    scheme.convention = is_step ? format::ScaleConvention::kStep : format::ScaleConvention::kAbsmax;
    scheme.full_range = IsZeropoint();
    scheme.scales = weight + (is_step ? "_step" : "_absmax");
    Tensor(scheme.scales, DType::kF32, row_shape, std::move(scales));
    scheme.code_sum = weight + "_code_sum";
    Tensor(scheme.code_sum, DType::kI32, row_shape, std::move(sums));
    if (is_step) {
      scheme.zero_point = weight + "_zero_point";
      Tensor(scheme.zero_point, DType::kI32, row_shape, std::move(points));
    }
    module.scheme = scheme;
    if (!linear.biases.empty()) {
      module.bias = linear.name + ".bias";
      Tensor(module.bias, linear.bias_dtype, row_shape, std::move(bias));
    }
    AddKept(linear, &module);
    manifest_.modules.push_back(module);
  }

  bool IsZeropoint() const {
    return spec_.quantization.method == format::Method::kZeropointTensor ||
           spec_.quantization.method == format::Method::kZeropointVector;
  }

  void AddCodes(const LinearSpec& linear, const std::string& name, std::vector<std::byte> codes) {
    const uint64_t out = linear.weights[0].rows, in = linear.weights[0].cols;
    if (linear.experts)
      return Tensor(name, DType::kI8, {linear.weights.size(), out, in}, std::move(codes), out,
                    linear.chunk_rows);
    if (linear.layout == format::CodeLayout::kPlain)
      return Tensor(name, DType::kI8, {out, in}, std::move(codes), 0, linear.chunk_rows);
    const auto layout = octavo::ToKernels(linear.layout);
    std::vector<std::byte> packed(kernels::LayoutBytes(layout, out, in));
    kernels::PackCodes(layout, reinterpret_cast<const int8_t*>(codes.data()), out, in,
                       reinterpret_cast<int8_t*>(packed.data()));
    Tensor(name, DType::kI8, {(out + 15) / 16, (in + 63) / 64 * 16, 16, 4}, std::move(packed), 0,
           linear.chunk_rows);
  }

  void AddKept(const LinearSpec& linear, format::Module* module) {
    if (linear.kept_index.empty()) return;
    module->kept_index = linear.name + ".weight_kept_index";
    module->kept_weight = linear.name + ".weight_kept";
    std::vector<std::byte> index;
    Append(index, linear.kept_index);
    const uint64_t kept = linear.kept_index.size();
    Tensor(module->kept_index, DType::kI32, {kept}, std::move(index));
    const reference::KeptColumns columns = ReferenceKept(linear);
    Tensor(module->kept_weight, linear.kept_dtype, {kept, linear.weights[0].rows},
           Narrow(columns.weight.data, linear.kept_dtype));
  }

  const ModelSpec& spec_;
  Result<format::Writer> writer_;
  format::Manifest manifest_;
};

}  // namespace

LinearSpec RandomLinear(Random& random, std::string name, size_t out_features, size_t in_features) {
  LinearSpec linear;
  linear.name = std::move(name);
  reference::Matrix w(out_features, in_features);
  for (float& value : w.data) value = RoundTo(random.Normal(0.1f), kernels::ElementType::kFloat16);
  linear.weights.push_back(std::move(w));
  return linear;
}

void WriteModel(const std::string& path, const ModelSpec& spec) { ModelWriter(path, spec).Run(); }

std::string TestPath(const std::string& name) {
  namespace fs = std::filesystem;
  // One folder for each process, removed when it ends: CTest runs many at once.
  static const struct Folder {
    fs::path path = fs::temp_directory_path() / ("octavo-runtime-test-" + std::to_string(getpid()));
    pid_t owner = getpid();
    Folder() { fs::create_directories(path); }
    ~Folder() {
      std::error_code ignored;
      if (getpid() == owner) fs::remove_all(path, ignored);
    }
  } folder;
  return (folder.path / name).string();
}

reference::Method ToReference(format::Method method) {
  switch (method) {
    case format::Method::kVectorWise:
      return reference::Method::kVectorWise;
    case format::Method::kTensorWise:
      return reference::Method::kTensorWise;
    case format::Method::kRowWise:
      return reference::Method::kRowWise;
    case format::Method::kZeropointTensor:
      return reference::Method::kZeropointTensor;
    case format::Method::kZeropointVector:
      return reference::Method::kZeropointVector;
  }
  return reference::Method::kVectorWise;
}

kernels::ElementType ToElement(DType dtype) { return *octavo::ToKernels(dtype); }

reference::QuantizedWeights ReferenceWeights(const ModelSpec& spec, const LinearSpec& linear,
                                             size_t matrix) {
  return reference::QuantizeWeights(linear.weights[matrix], ToReference(spec.quantization.method));
}

reference::KeptColumns ReferenceKept(const LinearSpec& linear) {
  reference::KeptColumns kept;
  kept.index = linear.kept_index;
  const reference::Matrix& w = linear.weights[0];
  kept.weight = reference::Matrix(linear.kept_index.size(), w.rows);
  for (size_t i = 0; i < linear.kept_index.size(); ++i) {
    for (size_t n = 0; n < w.rows; ++n)
      kept.weight.at(i, n) =
          RoundTo(w.at(n, static_cast<size_t>(linear.kept_index[i])), ToElement(linear.kept_dtype));
  }
  return kept;
}

std::vector<float> ReferenceBias(const LinearSpec& linear, size_t matrix) {
  if (linear.biases.empty()) return {};
  std::vector<float> bias = linear.biases[matrix];
  for (float& value : bias) value = RoundTo(value, ToElement(linear.bias_dtype));
  return bias;
}

ReferenceResult RunReference(const ModelSpec& spec, const LinearSpec& linear, size_t matrix,
                             const reference::Matrix& x, const QuantizeOptions& overrides) {
  const format::Quantization& stated = spec.quantization;
  kernels::ActivationOptions options;
  options.threshold = overrides.threshold.value_or(stated.threshold);
  const bool token = overrides.scope.value_or(stated.scope) == format::Scope::kToken;
  options.scope = token ? kernels::Scope::kToken : kernels::Scope::kBatch;
  const bool below =
      overrides.row_rule.value_or(stated.row_rule) == format::RowRule::kBelowThreshold;
  options.row_rule = below ? kernels::RowRule::kBelowThreshold : kernels::RowRule::kInlierColumns;
  const bool symmetric =
      overrides.activations.value_or(stated.activations) == format::Activations::kSymmetric;
  options.activations =
      symmetric ? kernels::Activations::kSymmetric : kernels::Activations::kAsymmetric;
  options.via_fp16 = stated.activations_via_fp16;
  const bool whole = stated.method == format::Method::kTensorWise ||
                     stated.method == format::Method::kZeropointTensor;
  options.range_over = whole ? kernels::RangeOver::kTensor : kernels::RangeOver::kRow;
  const reference::QuantizedWeights weights = ReferenceWeights(spec, linear, matrix);
  ReferenceResult result;
  result.rows = reference::QuantizeActivations(x, options, linear.kept_index);
  result.y = reference::MultiplyExactly(x, result.rows, weights, ReferenceKept(linear),
                                        ReferenceBias(linear, matrix));
  return result;
}

PreparedLinear MustPrepare(const std::string& path, const std::string& name, int64_t expert,
                           const PrepareOptions& options, Device device) {
  Result<Model> model = Model::Open(path);
  if (!model.ok()) throw std::runtime_error(model.status().message());
  Result<Linear> linear = model->linear(name, expert);
  if (!linear.ok()) throw std::runtime_error(linear.status().message());
  Result<PreparedLinear> prepared = Prepare(*linear, device, options);
  if (!prepared.ok()) throw std::runtime_error(prepared.status().message());
  return std::move(prepared).value();
}

::testing::AssertionResult HasText(const Status& status, const std::string& text) {
  if (status.message().find(text) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "\"" << text << "\" is not in: " << status.message();
}

namespace {

// Forward with host memory on a linear of a CUDA device.
Status ForwardOnCuda(const PreparedLinear& prepared, const ConstTensorView& x, const TensorView& y,
                     const QuantizeOptions& overrides, Execution execution) {
  const auto bytes = [](const ConstTensorView& view) {
    if (view.rows == 0) return size_t{0};
    const int64_t elements = (view.rows - 1) * view.row_stride + view.columns;
    return static_cast<size_t>(elements) * DTypeBytes(view.dtype);
  };
  const Device device = prepared.device();
  const DeviceMemory x_memory(device, x.data, bytes(x)), y_memory(device, y.data, bytes(y));
  const DeviceMemory workspace(device, ForwardWorkspaceBytes(prepared, x.rows, execution));
  if (execution.workspace.data() == nullptr) execution.workspace = workspace.span();
  ConstTensorView x_there = x;
  TensorView y_there = y;
  x_there.device = y_there.device = device;
  x_there.data = x_memory.data();
  y_there.data = y_memory.data();
  const Status status = Forward(prepared, x_there, y_there, overrides, execution);
  if (status.ok()) y_memory.CopyToHost(y.data, execution.stream);
  return status;
}

// docs/numerics.md, section 7: tensor cores truncate, and take an X as up to three 16-bit terms.
// The fake library is the CPU's kernels.
BackendArithmetic ArithmeticOf(Device device) {
  const bool real = device.type == DeviceType::kCuda && Cuda().description != std::string("fake");
  return real ? BackendArithmetic{3, 0x1p-23} : BackendArithmetic{};
}

}  // namespace

void CheckForward(const PreparedLinear& prepared, const ModelSpec& spec, const LinearSpec& linear,
                  size_t matrix, const reference::Matrix& x, DType x_dtype, DType y_dtype,
                  const QuantizeOptions& overrides, const Execution& execution) {
  const size_t out = linear.weights[matrix].rows;
  TypedMatrix x_typed(x, ToElement(x_dtype), 3);
  TypedMatrix y_typed(x.rows, out, ToElement(y_dtype), 5);
  const ConstTensorView x_view{x_typed.data(), x_dtype, static_cast<int64_t>(x.rows),
                               static_cast<int64_t>(x.cols),
                               static_cast<int64_t>(x_typed.stride())};
  const TensorView y_view{y_typed.data(), y_dtype, static_cast<int64_t>(x.rows),
                          static_cast<int64_t>(out), static_cast<int64_t>(y_typed.stride())};
  const Status status = prepared.device().type == DeviceType::kCuda
                            ? ForwardOnCuda(prepared, x_view, y_view, overrides, execution)
                            : Forward(prepared, x_view, y_view, overrides, execution);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(y_typed.Intact());
  const BackendArithmetic arithmetic = ArithmeticOf(prepared.device());
  const ReferenceResult expected = RunReference(spec, linear, matrix, x_typed.values(), overrides);
  const reference::Matrix y = y_typed.values();
  for (size_t m = 0; m < x.rows; ++m) {
    for (size_t n = 0; n < out; ++n) {
      const reference::ExactOutput& exact = expected.y[m * out + n];
      ASSERT_TRUE(IsWithinBound(y.at(m, n), ToElement(y_dtype), exact, arithmetic))
          << linear.name << " y[" << m << "][" << n << "]: " << DescribeOutput(y.at(m, n), exact);
    }
  }
}

}  // namespace octavo::testing
