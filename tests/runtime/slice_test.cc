// How linears are split, what a slice reads of the file, and that column-parallel slices give the
// bits of the whole.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>

#include "tests/runtime/slices.h"
#include "tests/testing/typed_matrix.h"

namespace octavo {
namespace {

using testing::HasText;
using testing::LinearSpec;
using testing::ModelSpec;

constexpr DType kTypes[] = {DType::kF16, DType::kBF16, DType::kF32};
constexpr uint64_t kPage = 4096;

// ---- The split ----

std::vector<int64_t> Sizes(int64_t features, int32_t world) {
  std::vector<int64_t> sizes;
  int64_t end = 0;
  for (int32_t rank = 0; rank < world; ++rank) {
    const Slice part = SplitFeatures(features, rank, world, SliceAxis::kInFeatures);
    EXPECT_EQ(part.axis, SliceAxis::kInFeatures);
    EXPECT_EQ(part.begin, end) << features << " over " << world;
    end = part.end;
    sizes.push_back(part.features());
  }
  EXPECT_EQ(end, features) << world;
  return sizes;
}

TEST(SplitFeatures, KeepsLargeUnitsWhereTheyAreEven) {
  using Expected = std::vector<int64_t>;
  EXPECT_EQ(Sizes(4096, 1), (Expected{4096}));
  EXPECT_EQ(Sizes(4096, 2), (Expected{2048, 2048}));
  EXPECT_EQ(Sizes(4096, 5), (Expected{896, 896, 768, 768, 768}));
  EXPECT_EQ(Sizes(768, 3), (Expected{256, 256, 256}));
  EXPECT_EQ(Sizes(192, 3), (Expected{64, 64, 64}));
  EXPECT_EQ(Sizes(129, 2), (Expected{72, 57}));
  EXPECT_EQ(Sizes(7, 5), (Expected{2, 2, 1, 1, 1}));
  EXPECT_EQ(Sizes(3, 5), (Expected{1, 1, 1, 0, 0}));
  EXPECT_EQ(Sizes(0, 2), (Expected{0, 0}));
}

TEST(SplitFeatures, NoRankExceedsItsShareByMoreThanAnEighth) {
  for (int64_t features = 0; features < 700; ++features) {
    for (int32_t world = 1; world < 20; ++world) {
      const int64_t share = (features + world - 1) / world;
      for (const int64_t size : Sizes(features, world)) {
        EXPECT_LE(size, share + share / 8) << features << " over " << world;
        EXPECT_TRUE(size > 0 || features < world) << features << " over " << world;
      }
    }
  }
}

TEST(SplitFeatures, DoesNotOverflow) {
  const int64_t features = int64_t{1} << 62;
  const Slice last = SplitFeatures(features, INT32_MAX - 1, INT32_MAX, SliceAxis::kOutFeatures);
  EXPECT_EQ(last.end, features);
  EXPECT_LT(last.begin, last.end);
}

// ---- Column-parallel ----

void CheckColumns(const Linear& linear, const reference::Matrix& values, int32_t world,
                  DType x_dtype, DType y_dtype, const QuantizeOptions& options) {
  const Result<PreparedLinear> whole = Prepare(linear);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  testing::TypedMatrix x(values, testing::ToElement(x_dtype));
  const auto tokens = static_cast<int64_t>(values.rows);
  const ConstTensorView x_view{x.data(), x_dtype, tokens, linear.in_features()};
  const int64_t out = linear.out_features();
  testing::TypedMatrix expected(values.rows, static_cast<size_t>(out), testing::ToElement(y_dtype));
  testing::TypedMatrix y(values.rows, static_cast<size_t>(out), testing::ToElement(y_dtype));
  ASSERT_TRUE(Forward(*whole, x_view, {expected.data(), y_dtype, tokens, out}, options).ok());
  for (int32_t rank = 0; rank < world; ++rank) {
    const PreparedLinear part = testing::MustPrepareSlice(
        linear, rank, world, SliceAxis::kOutFeatures, {.check_digests = true});
    EXPECT_EQ(part.in_features(), linear.in_features());
    const auto begin = static_cast<size_t>(part.linear().part()->begin);
    const TensorView columns{y.at(0, begin), y_dtype, tokens, part.out_features(), out};
    const Status status = Forward(part, x_view, columns, options);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  const size_t bytes = values.rows * static_cast<size_t>(out) * DTypeBytes(y_dtype);
  EXPECT_EQ(std::memcmp(y.data(), expected.data(), bytes), 0) << linear.name() << " over " << world;
  EXPECT_TRUE(y.Intact());
}

TEST(Slice, ColumnsHaveTheBitsOfTheWhole) {
  testing::Random random(testing::TestSeed());
  SCOPED_TRACE(testing::SeedText(testing::TestSeed()));
  const std::string path = testing::TestPath("columns.8vo");
  for (const ModelSpec& spec : testing::SliceableModels(random)) {
    testing::WriteModel(path, spec);
    for (const LinearSpec& linear : spec.linears) {
      for (size_t e = 0; e < linear.weights.size(); ++e) {
        const Linear whole = testing::MustFind(path, linear.name, static_cast<int64_t>(e));
        const reference::Matrix x = testing::SliceActivations(random, 5, linear.weights[e].cols);
        for (const int32_t world : testing::kWorlds) {
          QuantizeOptions options;
          if (spec.quantization.method != format::Method::kTensorWise && random.Chance(0.5))
            options.scope = format::Scope::kToken;
          if (random.Chance(0.5)) options.activations = format::Activations::kSymmetric;
          if (random.Chance(0.5)) options.row_rule = format::RowRule::kBelowThreshold;
          CheckColumns(whole, x, world, random.Pick(kTypes), random.Pick(kTypes), options);
        }
      }
    }
  }
}

TEST(Slice, FeaturesMayBeGiven) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 40, 30));
  const std::string path = testing::TestPath("given.8vo");
  testing::WriteModel(path, spec);
  const Linear whole = testing::MustFind(path, "linear");
  const Result<Linear> part = whole.slice_features(11, 29, SliceAxis::kOutFeatures);
  ASSERT_TRUE(part.ok()) << part.status().message();
  EXPECT_EQ(part->out_features(), 18);
  EXPECT_EQ(part->in_features(), 30);
  EXPECT_EQ(part->part(), (Slice{SliceAxis::kOutFeatures, 11, 29}));
  EXPECT_FALSE(whole.part());
  const std::vector<float> x(30, 1.5f);
  std::vector<float> y(40), cut(18);
  const ConstTensorView x_view{x.data(), DType::kF32, 1, 30};
  ASSERT_TRUE(Forward(*Prepare(whole), x_view, {y.data(), DType::kF32, 1, 40}).ok());
  ASSERT_TRUE(Forward(*Prepare(*part), x_view, {cut.data(), DType::kF32, 1, 18}).ok());
  EXPECT_EQ(cut, std::vector<float>(y.begin() + 11, y.begin() + 29));
}

TEST(Slice, Errors) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 40, 30));
  const std::string path = testing::TestPath("errors.8vo");
  testing::WriteModel(path, spec);
  const Linear whole = testing::MustFind(path, "linear");
  for (const auto& [rank, world] : {std::pair{0, 0}, {-1, 2}, {2, 2}, {0, -1}}) {
    const Result<Linear> part = whole.slice(rank, world, SliceAxis::kInFeatures);
    EXPECT_EQ(part.code(), ErrorCode::kInvalidArgument) << rank << " " << world;
    EXPECT_TRUE(HasText(part.status(), "\"linear\": there is no rank"));
  }
  for (const auto& [begin, end] : {std::pair{-1, 3}, {4, 3}, {0, 31}})
    EXPECT_TRUE(HasText(whole.slice_features(begin, end, SliceAxis::kInFeatures).status(),
                        "30 in_features"));
  EXPECT_TRUE(HasText(whole.slice(0, 2, static_cast<SliceAxis>(2)).status(), "no axis 2"));
  const Result<Linear> part = whole.slice(1, 2, SliceAxis::kInFeatures);
  EXPECT_TRUE(HasText(part->slice(0, 2, SliceAxis::kOutFeatures).status(), "sliced again"));
  const Result<PreparedLinear> cuda = Prepare(*part, {DeviceType::kCuda, 0});
  EXPECT_EQ(cuda.code(), ErrorCode::kUnsupported);
  EXPECT_TRUE(HasText(cuda.status(), "CPU only"));
}

// ---- What is read ----

class SliceReads : public ::testing::Test {
 protected:
  // 64 rows of 4 pages; in chunks of 8 rows.
  void Write(format::Codec codec) {
    testing::Random random(testing::TestSeed());
    ModelSpec spec;
    spec.writer.codec = codec;
    LinearSpec linear = testing::RandomLinear(random, "linear", 64, 16384);
    for (size_t i = 0; i < linear.weights[0].data.size(); ++i)
      if (i % 7 != 0) linear.weights[0].data[i] = 0;
    linear.chunk_rows = 8;
    spec.linears.push_back(linear);
    testing::WriteModel(path_, spec);
  }

  uint64_t BytesRead(int32_t rank, int32_t world, SliceAxis axis, bool check_digests = false) {
    const Linear linear = testing::MustFind(path_, "linear");
    return testing::MustPrepareSlice(linear, rank, world, axis, {.check_digests = check_digests})
        .bytes_read();
  }

  const format::TensorEntry Codes() {
    return *Model::Open(path_)->reader().FindTensor("linear.weight");
  }

  std::string path_ = testing::TestPath("reads.8vo");
};

// Scales and sums of codes: 256 bytes each, that may lie across two pages.
constexpr uint64_t kSmallTensors = 4 * kPage;

TEST_F(SliceReads, HalfThePagesOfAPlainFile) {
  Write(format::Codec::kNone);
  const uint64_t all = 64 * 16384;
  const uint64_t whole = testing::MustPrepare(path_, "linear").bytes_read();
  EXPECT_GE(whole, all + 2 * kPage);
  EXPECT_LE(whole, all + kSmallTensors);
  for (const auto axis : {SliceAxis::kOutFeatures, SliceAxis::kInFeatures}) {
    for (int32_t rank = 0; rank < 2; ++rank) {
      EXPECT_GT(BytesRead(rank, 2, axis), all / 2);
      EXPECT_LE(BytesRead(rank, 2, axis), all / 2 + kSmallTensors);
    }
  }
  // 3,328 of 16,384 columns: a page of a row, or two.
  EXPECT_LE(BytesRead(0, 5, SliceAxis::kInFeatures), 64 * kPage + kSmallTensors);
  EXPECT_GE(BytesRead(1, 5, SliceAxis::kInFeatures), 64 * 2 * kPage);
}

TEST_F(SliceReads, PagesThatRowsShareCountOnce) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 512, 256));
  testing::WriteModel(path_, spec);
  EXPECT_LE(BytesRead(0, 2, SliceAxis::kInFeatures), 512 * 256 + kSmallTensors);
}

TEST_F(SliceReads, WholeChunksOfACompressedFile) {
  Write(format::Codec::kZstd);
  const format::TensorEntry codes = Codes();
  ASSERT_EQ(codes.stored.size(), 8u);
  ASSERT_LT(codes.bytes, codes.raw_bytes());
  uint64_t all = 0, first_half = 0;
  for (size_t i = 0; i < 8; ++i) {
    all += codes.stored[i];
    if (i < 4) first_half += codes.stored[i];
  }
  const uint64_t halves[] = {first_half, all - first_half};
  for (int32_t rank = 0; rank < 2; ++rank) {
    EXPECT_GT(BytesRead(rank, 2, SliceAxis::kOutFeatures), halves[rank]);
    EXPECT_LE(BytesRead(rank, 2, SliceAxis::kOutFeatures), halves[rank] + kSmallTensors);
    EXPECT_GT(BytesRead(rank, 2, SliceAxis::kInFeatures), all);
    EXPECT_LE(BytesRead(rank, 2, SliceAxis::kInFeatures), all + kSmallTensors);
  }
}

TEST_F(SliceReads, DigestsOfItsOwnChunks) {
  Write(format::Codec::kNone);
  // Rows 56 to 63 are in the last chunk.
  std::FILE* file = std::fopen(path_.c_str(), "r+b");
  ASSERT_NE(file, nullptr);
  std::fseek(file, static_cast<long>(Codes().offset + 60 * 16384), SEEK_SET);
  std::fputc(77, file);
  std::fclose(file);
  const uint64_t half = 32 * 16384;
  const uint64_t read = BytesRead(0, 2, SliceAxis::kOutFeatures, true);
  EXPECT_GT(read, half);
  EXPECT_LE(read, half + kSmallTensors);
  const Linear linear = testing::MustFind(path_, "linear");
  for (const auto& [rank, axis] : {std::pair{1, SliceAxis::kOutFeatures},
                                   {0, SliceAxis::kInFeatures},
                                   {1, SliceAxis::kInFeatures}}) {
    const Status status =
        Prepare(*linear.slice(rank, 2, axis), kCpuDevice, {.check_digests = true}).status();
    EXPECT_EQ(status.code(), ErrorCode::kNotIntact) << rank;
    EXPECT_TRUE(HasText(status, "linear.weight"));
  }
}

}  // namespace
}  // namespace octavo
