// A product whose in_features are split: every table gives the codes of the unsplit rows from
// ranges that were agreed upon, accumulators that add up, and the bias and the one rounding
// afterwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "octavo/thread_pool.h"
#include "tests/kernels/linear_case.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

using testing::GuardedBuffer;
using testing::TypedMatrix;

class Partial : public EachTable {};
OCTAVO_FOR_EACH_TABLE(Partial);

// Columns [begin, end) of X and W, as one of several callers has them.
struct Piece {
  size_t begin, end;
  std::vector<int32_t> kept;
  std::vector<int32_t> code_sum;
  std::vector<int8_t> packed;
  ActivationView x;
  LinearView linear;
};

// Requires: pieces are not moved once they are made.
void Cut(const CpuKernels& table, PreparedCase& prepared, ElementType type, Piece* piece) {
  const reference::QuantizedWeights& weights = prepared.weights();
  const size_t out = weights.out_features, count = piece->end - piece->begin;
  std::vector<int8_t> codes;
  for (size_t n = 0; n < out; ++n) {
    const int8_t* row = weights.codes.data() + n * weights.in_features;
    codes.insert(codes.end(), row + piece->begin, row + piece->end);
  }
  piece->packed.resize(LayoutBytes(table.layout, out, count));
  PackCodes(table.layout, codes.data(), out, count, piece->packed.data());
  piece->code_sum.resize(out);
  SumCodes(table.layout, piece->packed.data(), out, count, piece->code_sum.data());
  for (const int32_t k : prepared.kept().index) {
    const auto column = static_cast<size_t>(k);
    if (column >= piece->begin && column < piece->end)
      piece->kept.push_back(k - static_cast<int32_t>(piece->begin));
  }
  piece->x = prepared.x_view();
  piece->x.data =
      static_cast<const unsigned char*>(piece->x.data) + piece->begin * ElementBytes(type);
  piece->x.in_features = count;
  piece->linear = prepared.linear_view();
  piece->linear.in_features = count;
  piece->linear.codes = piece->packed.data();
  piece->linear.code_sum = piece->code_sum.data();
  piece->linear.num_kept = piece->kept.size();
  piece->linear.kept_index = piece->kept.data();
}

std::vector<int64_t> AccOf(const CpuKernels& table, const QuantizedActivations& q,
                           const LinearView& linear) {
  const size_t bytes = MultiplyWorkspaceBytes(table, q.x.tokens, linear, SerialFor());
  GuardedBuffer workspace(bytes, 64);
  std::vector<int64_t> acc(q.x.tokens * linear.out_features);
  EXPECT_EQ(Accumulate(table, q, linear, acc.data(), workspace.data(), bytes), KernelStatus::kOk);
  return acc;
}

void CheckCodes(const QuantizedActivations& part, const QuantizedActivations& whole, size_t begin) {
  for (size_t m = 0; m < part.x.tokens; ++m) {
    ASSERT_EQ(std::bit_cast<uint32_t>(part.scale[m]), std::bit_cast<uint32_t>(whole.scale[m]));
    ASSERT_EQ(part.zero_point[m], whole.zero_point[m]) << m;
    for (size_t k = 0; k < part.x.in_features; ++k)
      ASSERT_EQ(part.codes[m * part.code_stride + k],
                whole.codes[m * whole.code_stride + begin + k])
          << "row " << m << ", column " << begin + k;
  }
}

void CheckSplit(const CpuKernels& table, const LinearCase& c, std::vector<size_t> cuts) {
  SCOPED_TRACE(c.Describe());
  PreparedCase prepared(table, c);
  const QuantizedCase whole(table, prepared);
  const std::vector<int64_t> expected = AccOf(table, *whole, prepared.linear_view());

  ThreadPool pool(3);
  const size_t bytes = QuantizeWorkspaceBytes(c.x.rows, c.x.cols, prepared.options());
  GuardedBuffer workspace(bytes, 64);
  std::vector<Piece> pieces(cuts.size() - 1);
  std::vector<float> agreed(2 * c.x.rows), found(2 * c.x.rows);
  for (size_t i = 0; i < pieces.size(); ++i) {
    pieces[i].begin = cuts[i];
    pieces[i].end = cuts[i + 1];
    Cut(table, prepared, c.x_type, &pieces[i]);
    ASSERT_EQ(FindRanges(table, pieces[i].x, prepared.options(), pieces[i].kept,
                         pool.parallel_for(), workspace.data(), bytes, found.data()),
              KernelStatus::kOk);
    for (size_t m = 0; m < agreed.size(); ++m) agreed[m] = std::max(agreed[m], found[m]);
  }
  std::vector<int64_t> sum(expected.size());
  for (const Piece& piece : pieces) {
    QuantizedActivations part;
    ASSERT_EQ(QuantizeWithRanges(table, piece.x, prepared.options(), piece.kept, agreed.data(),
                                 pool.parallel_for(), workspace.data(), bytes, &part),
              KernelStatus::kOk);
    ASSERT_NO_FATAL_FAILURE(CheckCodes(part, *whole, piece.begin));
    const std::vector<int64_t> acc = AccOf(table, part, piece.linear);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += acc[i];
  }
  EXPECT_EQ(sum, expected);
  EXPECT_TRUE(workspace.Intact());
}

TEST_P(Partial, AgreedRangesGiveTheCodesOfTheUnsplitRows) {
  testing::Random random(testing::TestSeed());
  SCOPED_TRACE(testing::SeedText(testing::TestSeed()));
  for (const reference::Method method :
       {reference::Method::kVectorWise, reference::Method::kTensorWise,
        reference::Method::kZeropointTensor, reference::Method::kZeropointVector}) {
    for (const Scope scope : {Scope::kBatch, Scope::kToken}) {
      for (const RowRule rule : {RowRule::kInlierColumns, RowRule::kBelowThreshold}) {
        for (const Activations activations : {Activations::kAsymmetric, Activations::kSymmetric}) {
          LinearCase c;
          c.method = method;
          c.options.scope = scope;
          c.options.row_rule = rule;
          c.options.activations = activations;
          c.options.via_fp16 = random.Chance(0.3);
          const bool spans_rows = method == reference::Method::kTensorWise ||
                                  method == reference::Method::kZeropointTensor;
          if (spans_rows && scope == Scope::kToken) continue;
          c.x_type =
              random.Pick({ElementType::kFloat16, ElementType::kBFloat16, ElementType::kFloat32});
          c.x = RandomActivations(random, 37, 203, 0.1);
          c.x.at(5, 70) = std::numeric_limits<float>::infinity();
          c.w = RandomMatrix(random, 21, 203);
          c.kept_index = {0, 63, 64, 150, 202};
          c.x_extra_stride = 3;
          CheckSplit(table(), c, {0, 64, 64, 101, 203});
        }
      }
    }
  }
}

TEST_P(Partial, RangesThatAreNoneAreRefused) {
  std::vector<float> x(8, 1.0f);
  const ActivationView view{x.data(), ElementType::kFloat32, 2, 4, 4};
  const size_t bytes = QuantizeWorkspaceBytes(2, 4, {});
  GuardedBuffer workspace(bytes, 64);
  QuantizedActivations q;
  const auto quantize = [&](std::vector<float> ranges) {
    return QuantizeWithRanges(table(), view, {}, {}, ranges.data(), SerialFor(), workspace.data(),
                              bytes, &q);
  };
  EXPECT_EQ(quantize({0, 0, 1, 1}), KernelStatus::kOk);
  for (const float bad :
       {-1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_EQ(quantize({bad, 0, 1, 1}), KernelStatus::kInvalidArgument) << bad;
    EXPECT_EQ(quantize({0, 0, 1, bad}), KernelStatus::kInvalidArgument) << bad;
  }
  EXPECT_EQ(FindRanges(table(), view, {}, {}, SerialFor(), workspace.data(), bytes, nullptr),
            KernelStatus::kInvalidArgument);
  std::vector<float> ranges(4);
  EXPECT_EQ(
      FindRanges(table(), view, {}, {}, SerialFor(), workspace.data(), bytes - 1, ranges.data()),
      KernelStatus::kWorkspaceTooSmall);
}

TEST(SumCodes, CountsEachRowOnce) {
  testing::Random random(testing::TestSeed());
  for (const WeightLayout layout : {WeightLayout::kPlain, WeightLayout::kVnni16x4}) {
    for (const size_t out : {1, 15, 16, 33}) {
      for (const size_t in : {0, 1, 5, 64, 131}) {
        std::vector<int8_t> plain(out * in), packed(LayoutBytes(layout, out, in));
        std::vector<int32_t> expected(out), sums(out, -1);
        for (size_t i = 0; i < plain.size(); ++i) {
          plain[i] = static_cast<int8_t>(random.Bits());
          expected[i / in] += plain[i];
        }
        PackCodes(layout, plain.data(), out, in, packed.data());
        SumCodes(layout, packed.data(), out, in, sums.data());
        EXPECT_EQ(sums, expected) << out << "x" << in;
      }
    }
  }
}

TEST(FinishPartials, AddsTheBiasAndRoundsOnce) {
  testing::Random random(testing::TestSeed());
  const size_t tokens = 3, out = 2051;
  const ElementType types[] = {ElementType::kFloat16, ElementType::kBFloat16,
                               ElementType::kFloat32};
  const reference::Matrix values = RandomMatrix(random, tokens, out, 100.0f);
  const reference::Matrix biases = RandomMatrix(random, 1, out);
  ThreadPool pool(2);
  for (const ElementType bias_type : types) {
    for (const ElementType y_type : types) {
      TypedMatrix sums(values, ElementType::kFloat32, 2), bias(biases, bias_type);
      TypedMatrix y(tokens, out, y_type, 5);
      for (const bool has_bias : {false, true}) {
        LinearView linear;
        linear.out_features = out;
        linear.bias = has_bias ? bias.data() : nullptr;
        linear.bias_type = bias_type;
        ASSERT_EQ(FinishPartials(static_cast<const float*>(sums.data()), sums.stride(), tokens,
                                 linear, {y.data(), y_type, y.stride()}, pool.parallel_for()),
                  KernelStatus::kOk);
        ASSERT_TRUE(y.Intact());
        const reference::Matrix given = bias.values(), got = y.values();
        for (size_t m = 0; m < tokens; ++m) {
          for (size_t n = 0; n < out; ++n) {
            const float sum = values.at(m, n) + (has_bias ? given.at(0, n) : 0.0f);
            ASSERT_EQ(got.at(m, n), testing::RoundTo(sum, y_type)) << m << " " << n;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
