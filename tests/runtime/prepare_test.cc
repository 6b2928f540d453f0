// Every way in which a linear is stored, and every value that Prepare refuses.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>

#include "tests/runtime/test_model.h"

namespace octavo {
namespace {

using testing::HasText;
using testing::LinearSpec;
using testing::ModelSpec;

reference::Matrix Activations(testing::Random& random, size_t tokens, size_t in_features) {
  reference::Matrix x(tokens, in_features);
  for (float& value : x.data) value = random.Normal(2.0f);
  if (in_features > 3) x.at(0, 3) = 40;
  return x;
}

void CheckAll(const std::string& path, const ModelSpec& spec, testing::Random& random) {
  for (const LinearSpec& linear : spec.linears) {
    for (size_t e = 0; e < linear.weights.size(); ++e) {
      SCOPED_TRACE(linear.name + " expert " + std::to_string(e));
      const PreparedLinear prepared =
          testing::MustPrepare(path, linear.name, static_cast<int64_t>(e), {.check_digests = true});
      testing::CheckForward(prepared, spec, linear, e,
                            Activations(random, 5, linear.weights[e].cols), DType::kF16,
                            DType::kF32);
    }
  }
}

ModelSpec EveryKind(testing::Random& random) {
  ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "plain", 70, 130));
  LinearSpec packed = testing::RandomLinear(random, "packed", 33, 67);
  packed.layout = format::CodeLayout::kVnni16x4;
  spec.linears.push_back(packed);
  LinearSpec kept = testing::RandomLinear(random, "kept", 21, 50);
  kept.kept_index = {0, 3, 49};
  kept.kept_dtype = DType::kBF16;
  kept.biases = {std::vector<float>(21, 0.7f)};
  kept.bias_dtype = DType::kF32;
  spec.linears.push_back(kept);
  LinearSpec experts = testing::RandomLinear(random, "experts", 9, 31);
  experts.experts = true;
  for (int e = 1; e < 3; ++e)
    experts.weights.push_back(testing::RandomLinear(random, "", 9, 31).weights[0]);
  experts.biases = {std::vector<float>(9, 1), std::vector<float>(9, 2), std::vector<float>(9, 3)};
  spec.linears.push_back(experts);
  return spec;
}

TEST(Prepare, EveryKindOfModuleMultiplies) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec = EveryKind(random);
  const std::string path = testing::TestPath("kinds.8vo");
  testing::WriteModel(path, spec);
  CheckAll(path, spec, random);
}

TEST(Prepare, CompressedFilesMultiplyAlike) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec = EveryKind(random);
  spec.writer.codec = format::Codec::kZstd;
  // Weights that zstd makes smaller, so that frames are read and not stored rows.
  for (LinearSpec& linear : spec.linears) {
    for (reference::Matrix& w : linear.weights) {
      for (size_t i = 0; i < w.data.size(); ++i) w.data[i] = i % 7 == 0 ? w.data[i] : 0.0f;
    }
  }
  const std::string path = testing::TestPath("zstd.8vo");
  testing::WriteModel(path, spec);
  CheckAll(path, spec, random);
}

TEST(Prepare, ShardedModelsMultiplyAlike) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec = EveryKind(random);
  spec.writer.max_shard_bytes = 4096;
  const std::string path = testing::TestPath("sharded.8vo");
  testing::WriteModel(path, spec);
  EXPECT_GT(Model::Open(path)->manifest().shards.size(), 1u);
  CheckAll(path, spec, random);
}

TEST(Prepare, EveryMethodMultiplies) {
  testing::Random random(testing::TestSeed());
  for (const format::Method method :
       {format::Method::kVectorWise, format::Method::kTensorWise, format::Method::kRowWise,
        format::Method::kZeropointTensor, format::Method::kZeropointVector}) {
    SCOPED_TRACE(format::Name(method));
    ModelSpec spec;
    spec.quantization.method = method;
    spec.linears.push_back(testing::RandomLinear(random, "linear", 37, 90));
    const std::string path = testing::TestPath("method.8vo");
    testing::WriteModel(path, spec);
    CheckAll(path, spec, random);
  }
}

TEST(Prepare, PlainCodesStayInTheMapping) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 300, 400));
  const std::string path = testing::TestPath("mapped.8vo");
  testing::WriteModel(path, spec);
  const PreparedLinear prepared = testing::MustPrepare(path, "linear", 0, {.cpu = "portable"});
  EXPECT_STREQ(prepared.backend(), "portable");
  EXPECT_EQ(prepared.owned_bytes(), 300 * sizeof(float));  // the multipliers
}

// Bytes of a file's mapping that this process holds in memory.
size_t ResidentBytes(const std::string& path) {
  std::ifstream smaps("/proc/self/smaps");
  size_t bytes = 0;
  bool is_file = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.find('-') < line.find(':')) is_file = line.ends_with(path);  // a mapping's first line
    if (is_file && line.starts_with("Rss:")) bytes += std::stoul(line.substr(4)) * 1024;
  }
  return bytes;
}

TEST(Prepare, WhatWasPackedLeavesTheMemoryOfTheMapping) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 1000, 1024));
  const std::string path = testing::TestPath("released.8vo");
  testing::WriteModel(path, spec);
  const Model model = *Model::Open(path);
  const PreparedLinear plain = *Prepare(*model.linear("linear"), kCpuDevice, {.cpu = "portable"});
  const auto check = [&](const PreparedLinear& prepared) {
    testing::CheckForward(prepared, spec, spec.linears[0], 0, Activations(random, 5, 1024),
                          DType::kF16, DType::kF32);
  };
  check(plain);
  EXPECT_GE(ResidentBytes(path), 1'000'000u);
  const PreparedLinear packed = *Prepare(*model.linear("linear"));
  if (packed.owned_bytes() < 1'000'000) GTEST_SKIP() << "these kernels read plain codes";
  EXPECT_LT(ResidentBytes(path), 500'000u);
  check(plain);
  check(packed);
}

class PrepareErrors : public ::testing::Test {
 protected:
  PrepareErrors() {
    testing::Random random(testing::TestSeed());
    LinearSpec linear = testing::RandomLinear(random, "linear", 6, 10);
    linear.kept_index = {2, 5};
    spec_.linears.push_back(linear);
    testing::WriteModel(path_, spec_);
  }

  Result<PreparedLinear> Create(Device device, const PrepareOptions& options) {
    Result<Model> model = Model::Open(path_);
    if (!model.ok()) return model.status();
    return Prepare(*model->linear("linear"), device, options);
  }

  // Prepares a file in which element `index` of a tensor has this value.
  template <typename T>
  Status Spoil(const std::string& tensor, size_t index, T value, bool check_digests = false) {
    spec_.spoil = [&](const std::string& name, std::vector<std::byte>& raw) {
      if (name == tensor) std::memcpy(raw.data() + index * sizeof(T), &value, sizeof(T));
    };
    testing::WriteModel(path_, spec_);
    return Create(kCpuDevice, {.check_digests = check_digests}).status();
  }

  ModelSpec spec_;
  std::string path_ = testing::TestPath("errors.8vo");
};

TEST_F(PrepareErrors, DevicesThatAreNotHere) {
  const Result<PreparedLinear> cuda = Create({DeviceType::kCuda, 1}, {});
  EXPECT_EQ(cuda.code(), ErrorCode::kUnsupported);
  EXPECT_TRUE(HasText(cuda.status(), "CUDA"));
  EXPECT_EQ(Create({DeviceType::kCpu, 1}, {}).code(), ErrorCode::kUnsupported);
  EXPECT_EQ(Create({static_cast<DeviceType>(7), 0}, {}).code(), ErrorCode::kUnsupported);
}

TEST_F(PrepareErrors, BackendsThatAreNotHere) {
  const Result<PreparedLinear> unknown = Create(kCpuDevice, {.cpu = "mmx"});
  EXPECT_EQ(unknown.code(), ErrorCode::kUnsupported);
  EXPECT_TRUE(HasText(unknown.status(), "\"mmx\""));
}

TEST_F(PrepareErrors, R26ScalesAreZeroOrNormal) {
  const std::string scales = "linear.weight_absmax";
  for (const float scale : {-1.0f, 1e-40f, 126 * 0x1p-126f, std::nanf(""),
                            std::numeric_limits<float>::infinity(), -0x1p-149f, -0.0f}) {
    const Status status = Spoil(scales, 4, scale);
    EXPECT_EQ(status.code(), ErrorCode::kInvalidFile) << scale;
    EXPECT_TRUE(HasText(status, "R26")) << scale;
    EXPECT_TRUE(HasText(status, "\"linear.weight_absmax\", index 4")) << scale;
  }
  EXPECT_TRUE(Spoil(scales, 4, 127 * 0x1p-126f).ok());
}

TEST_F(PrepareErrors, R26RowsOfScaleZeroHaveNoCodes) {
  EXPECT_TRUE(Spoil("linear.weight_absmax", 1, 0.0f).ok());
  EXPECT_TRUE(HasText(Spoil("linear.weight_absmax", 1, 0.0f, true), "R26"));
}

TEST_F(PrepareErrors, R27LowestCodeNeedsFullRange) {
  EXPECT_TRUE(Spoil("linear.weight", 33, int8_t{-128}).ok());
  const Status status = Spoil("linear.weight", 33, int8_t{-128}, true);
  EXPECT_EQ(status.code(), ErrorCode::kInvalidFile);
  EXPECT_TRUE(HasText(status, "R27"));
  EXPECT_TRUE(HasText(status, "index 3"));
}

TEST_F(PrepareErrors, R28CodeSums) {
  // Possible but wrong: a pass over the codes finds it. Impossible: always found.
  EXPECT_TRUE(Spoil("linear.weight_code_sum", 2, int32_t{1280}).ok());
  EXPECT_TRUE(HasText(Spoil("linear.weight_code_sum", 2, int32_t{1280}, true), "R28"));
  EXPECT_TRUE(HasText(Spoil("linear.weight_code_sum", 2, int32_t{1281}), "R28"));
  EXPECT_TRUE(HasText(Spoil("linear.weight_code_sum", 2, INT32_MIN), "R28"));
}

TEST_F(PrepareErrors, R29KeptColumnsAscendWithinTheRow) {
  for (const int32_t column : {2, 1, 10, -1, INT32_MIN, INT32_MAX}) {
    const Status status = Spoil("linear.weight_kept_index", 1, column);
    EXPECT_EQ(status.code(), ErrorCode::kInvalidFile) << column;
    EXPECT_TRUE(HasText(status, "R29")) << column;
  }
  EXPECT_TRUE(Spoil("linear.weight_kept_index", 1, int32_t{9}).ok());
}

TEST_F(PrepareErrors, R29ZeroPointsAreBytes) {
  spec_.quantization.method = format::Method::kZeropointVector;
  spec_.linears[0].kept_index.clear();
  for (const int32_t point : {-129, 128, INT32_MIN})
    EXPECT_TRUE(HasText(Spoil("linear.weight_zero_point", 5, point), "R29")) << point;
  EXPECT_TRUE(Spoil("linear.weight_zero_point", 5, int32_t{127}).ok());
}

TEST_F(PrepareErrors, DigestsAreCheckedOnRequest) {
  // Bytes that change after they were written: the digest in the file is of the old ones.
  const uint64_t offset = Model::Open(path_)->reader().FindTensor("linear.weight_absmax")->offset;
  std::FILE* file = std::fopen(path_.c_str(), "r+b");
  ASSERT_NE(file, nullptr);
  std::fseek(file, static_cast<long>(offset), SEEK_SET);
  const float other = 3.5f;
  std::fwrite(&other, sizeof(other), 1, file);
  std::fclose(file);
  EXPECT_TRUE(Create(kCpuDevice, {}).ok());
  const Result<PreparedLinear> checked = Create(kCpuDevice, {.check_digests = true});
  EXPECT_EQ(checked.code(), ErrorCode::kNotIntact);
  EXPECT_TRUE(HasText(checked.status(), "linear.weight_absmax"));
}

TEST(ListBackends, SaysWhatRunsAndWhy) {
  int selected = 0;
  bool cuda = false;
  for (const BackendInfo& backend : ListBackends()) {
    EXPECT_FALSE(backend.name.empty());
    EXPECT_FALSE(backend.reason.empty()) << backend.name;
    EXPECT_TRUE(backend.usable || !backend.selected) << backend.name;
    selected += backend.selected;
    cuda |= backend.type == DeviceType::kCuda && backend.name == "cuda";
  }
  EXPECT_EQ(selected, 1);
  EXPECT_TRUE(cuda);
  EXPECT_EQ(ToString({DeviceType::kCuda, 3}), "cuda:3");
  EXPECT_EQ(ToString(kCpuDevice), "cpu");
}

}  // namespace
}  // namespace octavo
