// Linears on a CUDA device, whichever library OCTAVO_CUDA_LIBRARY names: the fake one on every
// machine, the real one where there is a GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/runtime/device_memory.h"
#include "tests/runtime/slices.h"
#include "tests/runtime/test_model.h"
#include "tests/testing/typed_matrix.h"

namespace octavo {
namespace {

using testing::DeviceMemory;
using testing::HasText;
using testing::LinearSpec;
using testing::ModelSpec;

constexpr Device kCuda{DeviceType::kCuda, 0};
constexpr DType kTypes[] = {DType::kF16, DType::kBF16, DType::kF32};

// Skips where no device can be used, and says why.
class OnCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const BackendInfo& backend : ListBackends()) {
      if (backend.type != DeviceType::kCuda) continue;
      if (backend.usable) return;
      GTEST_SKIP() << backend.name << ": " << backend.reason;
    }
    FAIL() << "ListBackends has no CUDA entry";
  }

  PreparedLinear MustPrepare(const std::string& name, int64_t expert = 0) {
    return testing::MustPrepare(path_, name, expert, {.check_digests = true}, kCuda);
  }

  void Write(const ModelSpec& spec) { testing::WriteModel(path_, spec); }

  // One linear named "linear".
  PreparedLinear WriteAndPrepare(const LinearSpec& linear) {
    spec_.linears = {linear};
    Write(spec_);
    return MustPrepare("linear");
  }

  testing::Random random_{testing::TestSeed()};
  ModelSpec spec_;
  const std::string path_ = testing::TestPath("cuda.8vo");
};

reference::Matrix Activations(testing::Random& random, size_t tokens, size_t in_features) {
  reference::Matrix x(tokens, in_features);
  for (float& value : x.data) value = random.Normal();
  for (size_t k = 1; k < in_features; k += 17) {
    for (size_t m = 0; m < tokens; ++m) x.at(m, k) *= random.Chance(0.5) ? 12.0f : 2.0f;
  }
  return x;
}

using CudaForward = OnCuda;

TEST_F(CudaForward, EveryTypeOptionAndOverride) {
  LinearSpec linear = testing::RandomLinear(random_, "linear", 19, 83);
  linear.kept_index = {1, 63, 64};
  linear.biases = {std::vector<float>(19)};
  for (float& value : linear.biases[0]) value = random_.Normal();
  linear.bias_dtype = DType::kBF16;
  const PreparedLinear prepared = WriteAndPrepare(linear);
  const reference::Matrix x = Activations(random_, 7, 83);
  for (const DType x_dtype : kTypes) {
    for (const DType y_dtype : kTypes) {
      for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
        for (const auto rule :
             {format::RowRule::kInlierColumns, format::RowRule::kBelowThreshold}) {
          for (const auto activations :
               {format::Activations::kAsymmetric, format::Activations::kSymmetric}) {
            for (const float threshold : {0.0f, 3.0f, 6.0f})
              testing::CheckForward(prepared, spec_, linear, 0, x, x_dtype, y_dtype,
                                    {threshold, scope, rule, activations});
          }
        }
      }
    }
  }
}

// However a linear is stored: plain, packed, with kept columns, as experts; compressed.
TEST_F(CudaForward, EveryKindOfModule) {
  for (const format::Codec codec : {format::Codec::kNone, format::Codec::kZstd}) {
    spec_ = {};
    spec_.writer.codec = codec;
    spec_.linears.push_back(testing::RandomLinear(random_, "plain", 70, 130));
    LinearSpec packed = testing::RandomLinear(random_, "packed", 33, 67);
    packed.layout = format::CodeLayout::kVnni16x4;
    spec_.linears.push_back(packed);
    LinearSpec kept = testing::RandomLinear(random_, "kept", 21, 50);
    kept.kept_index = {0, 3, 49};
    kept.kept_dtype = DType::kBF16;
    kept.biases = {std::vector<float>(21, 0.7f)};
    kept.bias_dtype = DType::kF32;
    spec_.linears.push_back(kept);
    LinearSpec experts = testing::RandomLinear(random_, "experts", 9, 31);
    experts.experts = true;
    experts.weights.push_back(testing::RandomLinear(random_, "", 9, 31).weights[0]);
    experts.biases = {std::vector<float>(9, 1), std::vector<float>(9, 2)};
    spec_.linears.push_back(experts);
    Write(spec_);
    for (const LinearSpec& linear : spec_.linears) {
      for (size_t e = 0; e < linear.weights.size(); ++e) {
        SCOPED_TRACE(linear.name + " expert " + std::to_string(e));
        testing::CheckForward(MustPrepare(linear.name, static_cast<int64_t>(e)), spec_, linear, e,
                              Activations(random_, 5, linear.weights[e].cols), DType::kF16,
                              DType::kF32);
      }
    }
  }
}

TEST_F(CudaForward, EveryMethod) {
  for (const format::Method method :
       {format::Method::kVectorWise, format::Method::kTensorWise, format::Method::kRowWise,
        format::Method::kZeropointTensor, format::Method::kZeropointVector}) {
    SCOPED_TRACE(format::Name(method));
    spec_.quantization.method = method;
    const LinearSpec linear = testing::RandomLinear(random_, "linear", 37, 90);
    const PreparedLinear prepared = WriteAndPrepare(linear);
    testing::CheckForward(prepared, spec_, linear, 0, Activations(random_, 5, 90), DType::kF16,
                          DType::kF32);
  }
}

TEST_F(CudaForward, SmallSizesThatAreMultiplesOfNothing) {
  const size_t sizes[][2] = {{1, 1}, {1, 64}, {65, 1}, {17, 65}, {129, 127}, {3, 1031}};
  for (const auto& [out, in] : sizes)
    spec_.linears.push_back(
        testing::RandomLinear(random_, std::to_string(out) + "x" + std::to_string(in), out, in));
  Write(spec_);
  for (const LinearSpec& linear : spec_.linears) {
    const PreparedLinear prepared = MustPrepare(linear.name);
    for (const size_t tokens : {0, 1, 2, 17, 65})
      testing::CheckForward(prepared, spec_, linear, 0,
                            Activations(random_, tokens, linear.weights[0].cols), DType::kF16,
                            DType::kF16);
  }
}

TEST_F(CudaForward, NonFiniteActivations) {
  const LinearSpec linear = testing::RandomLinear(random_, "linear", 9, 33);
  const PreparedLinear prepared = WriteAndPrepare(linear);
  reference::Matrix x = Activations(random_, 6, 33);
  x.at(1, 4) = std::numeric_limits<float>::infinity();
  x.at(2, 4) = -std::numeric_limits<float>::infinity();
  x.at(4, 32) = std::numeric_limits<float>::quiet_NaN();
  for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
    QuantizeOptions overrides;
    overrides.scope = scope;
    for (const DType dtype : kTypes)
      testing::CheckForward(prepared, spec_, linear, 0, x, dtype, dtype, overrides);
  }
}

// Slices of out_features are uploaded and multiply as linears of their own; those of in_features
// are refused.
TEST_F(CudaForward, SlicesOfOutFeatures) {
  for (const ModelSpec& spec : testing::SliceableModels(random_)) {
    Write(spec);
    for (const LinearSpec& linear : spec.linears) {
      for (size_t e = 0; e < linear.weights.size(); ++e) {
        const Linear whole = testing::MustFind(path_, linear.name, static_cast<int64_t>(e));
        for (int32_t rank = 0; rank < 3; ++rank) {
          SCOPED_TRACE(linear.name + " rank " + std::to_string(rank));
          const PreparedLinear part = testing::MustPrepareSlice(
              whole, rank, 3, SliceAxis::kOutFeatures, {.check_digests = true}, kCuda);
          // One range over all weights is not that of a slice's rows.
          if (spec.quantization.method == format::Method::kTensorWise) continue;
          const LinearSpec rows = testing::CutRows(linear, *part.linear().part());
          testing::CheckForward(part, spec, rows, e,
                                Activations(random_, 5, linear.weights[e].cols), DType::kF16,
                                DType::kF32);
        }
        const Status refused = Prepare(*whole.slice(0, 2, SliceAxis::kInFeatures), kCuda).status();
        EXPECT_EQ(refused.code(), ErrorCode::kUnsupported);
        EXPECT_TRUE(HasText(refused, "CPU only"));
      }
    }
  }
}

TEST_F(CudaForward, WithoutInFeaturesIsTheBias) {
  LinearSpec linear = testing::RandomLinear(random_, "linear", 5, 0);
  linear.biases = {{1, 2, 3, 4, 5}};
  const PreparedLinear prepared = WriteAndPrepare(linear);
  testing::CheckForward(prepared, spec_, linear, 0, reference::Matrix(2, 0), DType::kF16,
                        DType::kF32);
}

// q, k and v share one quantization, and the linear that made it may be gone.
TEST_F(CudaForward, OneQuantizationServesSeveralLinears) {
  for (const char* name : {"q", "k", "v"}) {
    LinearSpec linear = testing::RandomLinear(random_, name, 20 + spec_.linears.size(), 48);
    linear.kept_index = {5};
    spec_.linears.push_back(linear);
  }
  Write(spec_);
  testing::TypedMatrix x(Activations(random_, 5, 48), kernels::ElementType::kFloat16);
  const DeviceMemory x_memory(kCuda, x.data(), 5 * 48 * 2);
  const ConstTensorView x_view{x_memory.data(), DType::kF16, 5, 48, 48, kCuda};
  std::optional<PreparedLinear> first = MustPrepare("q");
  const DeviceMemory activations(kCuda, QuantizeWorkspaceBytes(*first, 5));
  const auto quantized =
      Quantize(*first, x_view, {}, {.parallel = {}, .workspace = activations.span()});
  ASSERT_TRUE(quantized.ok()) << quantized.status().message();
  first.reset();
  EXPECT_EQ(quantized->tokens(), 5);
  EXPECT_EQ(quantized->in_features(), 48);
  for (const LinearSpec& linear : spec_.linears) {
    const PreparedLinear prepared = MustPrepare(linear.name);
    const int64_t out = prepared.out_features();
    const size_t y_bytes = static_cast<size_t>(5 * out) * sizeof(float);
    const DeviceMemory y(kCuda, y_bytes), scratch(kCuda, MultiplyWorkspaceBytes(prepared, 5));
    const Status status =
        Multiply(*quantized, prepared, {y.data(), DType::kF32, 5, out, out, kCuda},
                 {.parallel = {}, .workspace = scratch.span()});
    ASSERT_TRUE(status.ok()) << status.message();
    std::vector<float> two_steps(static_cast<size_t>(5 * out)), one_step(two_steps.size());
    y.CopyToHost(two_steps.data());
    const DeviceMemory whole(kCuda, ForwardWorkspaceBytes(prepared, 5));
    ASSERT_TRUE(Forward(prepared, x_view, {y.data(), DType::kF32, 5, out, out, kCuda}, {},
                        {.parallel = {}, .workspace = whole.span()})
                    .ok());
    y.CopyToHost(one_step.data());
    EXPECT_EQ(std::memcmp(two_steps.data(), one_step.data(), y_bytes), 0) << linear.name;
  }
}

TEST_F(CudaForward, NamesOutlierColumnsAndCountsEntries) {
  LinearSpec linear = testing::RandomLinear(random_, "linear", 4, 130);
  linear.kept_index = {7};
  const PreparedLinear prepared = WriteAndPrepare(linear);
  reference::Matrix x(3, 130);
  x.at(0, 7) = 100;  // a kept column is no outlier column
  x.at(0, 64) = 6;
  x.at(2, 64) = -7;
  x.at(1, 129) = 50;
  x.at(1, 63) = 5.99f;
  const DeviceMemory x_memory(kCuda, x.data.data(), x.data.size() * sizeof(float));
  const DeviceMemory workspace(kCuda, QuantizeWorkspaceBytes(prepared, 3));
  const Execution execution{.parallel = {}, .workspace = workspace.span()};
  for (const auto& [scope, entries] :
       {std::pair(format::Scope::kBatch, 6), std::pair(format::Scope::kToken, 3)}) {
    QuantizeOptions options;
    options.scope = scope;
    const auto quantized =
        Quantize(prepared, {x_memory.data(), DType::kF32, 3, 130, 130, kCuda}, options, execution);
    ASSERT_TRUE(quantized.ok()) << quantized.status().message();
    EXPECT_EQ(*quantized->outlier_columns(), (std::vector<int64_t>{64, 129}));
    EXPECT_EQ(*quantized->outlier_entries(), entries);
  }
  const auto none = Quantize(prepared, {nullptr, DType::kF32, 0, 130, 130, kCuda}, {}, execution);
  EXPECT_TRUE(none->outlier_columns()->empty());
  EXPECT_EQ(*none->outlier_entries(), 0);
}

TEST_F(CudaForward, OwnedBytesAreTheDevices) {
  const PreparedLinear prepared =
      WriteAndPrepare(testing::RandomLinear(random_, "linear", 300, 400));
  EXPECT_STREQ(prepared.backend(), "cuda:0");
  EXPECT_EQ(prepared.device(), kCuda);
  const size_t codes = 300 * kernels::CudaCodeStride(400), rows = 300 * sizeof(float);
  EXPECT_GE(prepared.owned_bytes(), codes + 2 * rows);
  EXPECT_LE(prepared.owned_bytes(), codes + 2 * rows + 3 * 256);
}

// What is checked before anything reaches the device.
class CudaCallErrors : public OnCuda {
 protected:
  void SetUp() override {
    OnCuda::SetUp();
    if (IsSkipped()) return;
    linear_.emplace(WriteAndPrepare(testing::RandomLinear(random_, "linear", 8, 32)));
    x_.emplace(kCuda, 3 * 32 * sizeof(float));
    y_.emplace(kCuda, 3 * 8 * sizeof(float));
  }

  ConstTensorView X() const { return {x_->data(), DType::kF32, 3, 32, 32, kCuda}; }
  TensorView Y() const { return {y_->data(), DType::kF32, 3, 8, 8, kCuda}; }

  void Expect(const std::string& text, ConstTensorView x, TensorView y,
              std::span<std::byte> workspace) {
    const Status status = Forward(*linear_, x, y, {}, {.parallel = {}, .workspace = workspace});
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument) << text;
    EXPECT_TRUE(HasText(status, text));
    EXPECT_TRUE(HasText(status, "linear \"linear\": "));
  }

  std::optional<PreparedLinear> linear_;
  std::optional<DeviceMemory> x_, y_;
};

TEST_F(CudaCallErrors, Workspaces) {
  const size_t bytes = ForwardWorkspaceBytes(*linear_, 3);
  const DeviceMemory memory(kCuda, bytes + 256);
  Expect("the call needs a workspace of " + std::to_string(bytes) + " bytes in the device's memory",
         X(), Y(), {});
  Expect("the call needs " + std::to_string(bytes), X(), Y(), memory.span().first(bytes - 1));
  Expect("not aligned to 256 bytes", X(), Y(), memory.span().subspan(64, bytes));
  EXPECT_TRUE(
      Forward(*linear_, X(), Y(), {}, {.parallel = {}, .workspace = memory.span().first(bytes)})
          .ok());
}

TEST_F(CudaCallErrors, NoTokensNeedNoWorkspace) {
  EXPECT_EQ(ForwardWorkspaceBytes(*linear_, 0), 0u);
  ConstTensorView x = X();
  TensorView y = Y();
  x.rows = y.rows = 0;
  EXPECT_TRUE(Forward(*linear_, x, y).ok());
}

TEST_F(CudaCallErrors, ImpossibleWorkspaces) {
  for (const int64_t tokens : {int64_t{-1}, INT64_MAX, int64_t{1} << 60}) {
    EXPECT_EQ(QuantizeWorkspaceBytes(*linear_, tokens), SIZE_MAX) << tokens;
    EXPECT_EQ(ForwardWorkspaceBytes(*linear_, tokens), SIZE_MAX) << tokens;
  }
}

TEST_F(CudaCallErrors, Devices) {
  const DeviceMemory memory(kCuda, ForwardWorkspaceBytes(*linear_, 3));
  ConstTensorView x = X();
  TensorView y = Y();
  x.device = kCpuDevice;
  Expect("x is on device cpu, the linear on cuda:0", x, Y(), memory.span());
  y.device = {DeviceType::kCuda, 1};
  Expect("y is on device cuda:1, the linear on cuda:0", X(), y, memory.span());
  x = X();
  x.data = static_cast<const std::byte*>(x.data) + 2;
  Expect("x is not aligned to its elements of 4 bytes", x, Y(), memory.span());
}

TEST_F(CudaCallErrors, ActivationsOfAnotherDevice) {
  const PreparedLinear on_cpu = testing::MustPrepare(path_, "linear");
  const std::vector<float> x(3 * 32);
  const auto quantized = Quantize(on_cpu, {x.data(), DType::kF32, 3, 32});
  const DeviceMemory memory(kCuda, MultiplyWorkspaceBytes(*linear_, 3));
  const Status status =
      Multiply(*quantized, *linear_, Y(), {.parallel = {}, .workspace = memory.span()});
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(HasText(status, "quantized on device cpu, this linear is on cuda:0"));
}

TEST_F(CudaCallErrors, Prepare) {
  const Result<Model> model = Model::Open(path_);
  const Linear linear = *model->linear("linear");
  const Result<PreparedLinear> named = octavo::Prepare(linear, kCuda, {.cpu = "portable"});
  EXPECT_EQ(named.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(HasText(named.status(), "\"portable\""));
  for (const int32_t index : {-1, 99}) {
    const Result<PreparedLinear> none = octavo::Prepare(linear, {DeviceType::kCuda, index});
    EXPECT_EQ(none.code(), ErrorCode::kUnsupported);
    EXPECT_TRUE(HasText(none.status(), "cannot use CUDA device cuda:" + std::to_string(index)));
  }
}

// A file that breaks a rule is found on the way to a device as on the CPU.
TEST_F(CudaCallErrors, BrokenFiles) {
  spec_.spoil = [](const std::string& tensor, std::vector<std::byte>& raw) {
    const int32_t wrong = 100;
    if (tensor == "linear.weight_code_sum") std::memcpy(raw.data() + 8, &wrong, sizeof(wrong));
  };
  Write(spec_);
  const Result<Model> model = Model::Open(path_);
  const Result<PreparedLinear> prepared =
      octavo::Prepare(*model->linear("linear"), kCuda, {.check_digests = true});
  EXPECT_EQ(prepared.code(), ErrorCode::kInvalidFile);
  EXPECT_TRUE(HasText(prepared.status(), "R28"));
}

TEST_F(OnCuda, DevicesAreListedWithFacts) {
  int64_t devices = 0;
  for (const BackendInfo& backend : ListBackends()) {
    if (backend.type != DeviceType::kCuda) continue;
    EXPECT_EQ(backend.name, "cuda:" + std::to_string(devices++));
    EXPECT_FALSE(backend.selected);
    ASSERT_TRUE(backend.gpu.has_value());
    EXPECT_NE(backend.reason.find(backend.gpu->name), std::string::npos);
    EXPECT_NE(backend.reason.find("compute capability"), std::string::npos);
    EXPECT_GT(backend.gpu->multiprocessors, 0);
    EXPECT_GT(backend.gpu->memory_bytes, uint64_t{1} << 30);
    EXPECT_GT(backend.gpu->l2_bytes, 0u);
    EXPECT_GE(backend.gpu->driver_cuda, "12.0");
  }
  EXPECT_GE(devices, 1);
}

}  // namespace
}  // namespace octavo
