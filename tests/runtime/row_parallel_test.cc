// The row-parallel forward: codes and accumulators of the unsplit linear, y within the bound of
// docs/numerics.md section 10, step by step and through the hook.
#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <bit>
#include <cmath>
#include <limits>
#include <thread>

#include "octavo/row_parallel.h"
#include "runtime/state.h"
#include "tests/runtime/slices.h"
#include "tests/testing/tolerance.h"
#include "tests/testing/typed_matrix.h"

namespace octavo {
namespace {

using testing::HasText;
using testing::LinearSpec;
using testing::ModelSpec;
using testing::TypedMatrix;

constexpr DType kTypes[] = {DType::kF16, DType::kBF16, DType::kF32};

std::vector<int64_t> AccOf(const PreparedLinear& linear, const QuantizedActivations& x) {
  const PreparedLinear::State& state = linear.state();
  const auto tokens = static_cast<size_t>(x.tokens());
  const size_t bytes =
      kernels::MultiplyWorkspaceBytes(*state.kernels, tokens, state.view, kernels::SerialFor());
  testing::GuardedBuffer workspace(bytes, 64);
  std::vector<int64_t> acc(tokens * state.view.out_features);
  EXPECT_EQ(kernels::Accumulate(*state.kernels, x.state().quantized, state.view, acc.data(),
                                workspace.data(), bytes),
            kernels::KernelStatus::kOk);
  return acc;
}

// The codes of a slice are those of the whole's columns from `begin` on.
void CheckCodes(const QuantizedActivations& part, const QuantizedActivations& whole,
                int64_t begin) {
  const kernels::QuantizedActivations& p = part.state().quantized;
  const kernels::QuantizedActivations& w = whole.state().quantized;
  for (size_t m = 0; m < w.x.tokens; ++m) {
    ASSERT_EQ(std::bit_cast<uint32_t>(p.scale[m]), std::bit_cast<uint32_t>(w.scale[m])) << m;
    ASSERT_EQ(p.zero_point[m], w.zero_point[m]) << m;
    const uint8_t* expected = w.codes + m * w.code_stride + begin;
    ASSERT_TRUE(std::equal(expected, expected + p.x.in_features, p.codes + m * p.code_stride))
        << "row " << m;
  }
}

// One linear over `world` ranks in this thread, with every rank's slice and view of x.
class Ranks {
 public:
  Ranks(const Linear& linear, int32_t world, const reference::Matrix& x, DType x_dtype)
      : x_(x, testing::ToElement(x_dtype), 3) {
    for (int32_t rank = 0; rank < world; ++rank) {
      linears_.push_back(testing::MustPrepareSlice(linear, rank, world, SliceAxis::kInFeatures,
                                                   {.check_digests = true}));
      const auto begin = static_cast<size_t>(linears_.back().linear().part()->begin);
      views_.push_back(View(x_dtype, begin, linears_.back().in_features()));
    }
    whole_ = View(x_dtype, 0, linear.in_features());
  }

  size_t size() const { return linears_.size(); }
  const PreparedLinear& linear(size_t rank) const { return linears_[rank]; }
  const ConstTensorView& x(size_t rank) const { return views_[rank]; }
  const ConstTensorView& whole() const { return whole_; }
  reference::Matrix values() { return x_.values(); }

 private:
  ConstTensorView View(DType dtype, size_t begin, int64_t columns) {
    const reference::Matrix values = x_.values();
    const size_t offset = begin * DTypeBytes(dtype);
    return {static_cast<const unsigned char*>(x_.data()) + offset, dtype,
            static_cast<int64_t>(values.rows), columns, static_cast<int64_t>(x_.stride())};
  }

  TypedMatrix x_;
  std::vector<PreparedLinear> linears_;
  std::vector<ConstTensorView> views_;
  ConstTensorView whole_;
};

std::vector<float> AgreedRanges(const Ranks& ranks, const QuantizeOptions& options) {
  std::vector<float> agreed(2 * static_cast<size_t>(ranks.whole().rows)), found(agreed.size());
  for (size_t r = 0; r < ranks.size(); ++r) {
    const Status status = FindRanges(ranks.linear(r), ranks.x(r), found, options);
    EXPECT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < agreed.size(); ++i) agreed[i] = std::max(agreed[i], found[i]);
  }
  return agreed;
}

// What the bound of section 10 is made of: the magnitudes of the ranks' int8 terms.
void SpreadMagnitude(const ModelSpec& spec, const LinearSpec& linear, size_t matrix,
                     const std::vector<std::vector<int64_t>>& accs,
                     testing::ReferenceResult* expected) {
  const reference::QuantizedWeights weights = testing::ReferenceWeights(spec, linear, matrix);
  const size_t out = weights.out_features;
  for (size_t i = 0; i < expected->y.size(); ++i) {
    int64_t acc = 0, magnitude = 0;
    for (const std::vector<int64_t>& part : accs) {
      acc += part[i];
      magnitude += std::abs(part[i]);
    }
    expected->y[i].magnitude += static_cast<double>(magnitude - std::abs(acc)) *
                                expected->rows.exact_scale[i / out] *
                                weights.exact_multiplier(i % out);
  }
}

void CheckOutputs(const reference::Matrix& y, DType y_dtype, size_t ranks,
                  const testing::ReferenceResult& expected) {
  testing::BackendArithmetic arithmetic;
  arithmetic.ranks = static_cast<double>(ranks);
  for (size_t i = 0; i < expected.y.size(); ++i)
    ASSERT_TRUE(
        testing::IsWithinBound(y.data[i], testing::ToElement(y_dtype), expected.y[i], arithmetic))
        << "y[" << i / y.cols << "][" << i % y.cols << "] over " << ranks << ": "
        << testing::DescribeOutput(y.data[i], expected.y[i]);
}

struct Case {
  const ModelSpec& spec;
  const LinearSpec& linear;
  size_t matrix;
  const Linear& whole;
  QuantizeOptions options;
};

// Every step by hand, on every rank in turn.
void CheckSteps(const Case& c, int32_t world, const reference::Matrix& values, DType x_dtype,
                DType y_dtype) {
  SCOPED_TRACE(c.linear.name + " over " + std::to_string(world));
  Ranks ranks(c.whole, world, values, x_dtype);
  const Result<PreparedLinear> whole = Prepare(c.whole);
  const auto whole_codes = Quantize(*whole, ranks.whole(), c.options);
  ASSERT_TRUE(whole_codes.ok()) << whole_codes.status().message();

  const std::vector<float> ranges = AgreedRanges(ranks, c.options);
  const size_t out = c.linear.weights[c.matrix].rows;
  TypedMatrix sums(values.rows, out, kernels::ElementType::kFloat32, 1);
  std::vector<float> total(values.rows * out);
  std::vector<std::vector<int64_t>> accs;
  const auto tokens = static_cast<int64_t>(values.rows), columns = static_cast<int64_t>(out);
  for (size_t r = 0; r < ranks.size(); ++r) {
    const auto codes = QuantizeWithRanges(ranks.linear(r), ranks.x(r), ranges, c.options);
    ASSERT_TRUE(codes.ok()) << codes.status().message();
    ASSERT_NO_FATAL_FAILURE(
        CheckCodes(*codes, *whole_codes, ranks.linear(r).linear().part()->begin));
    accs.push_back(AccOf(ranks.linear(r), *codes));
    const TensorView view{sums.data(), DType::kF32, tokens, columns,
                          static_cast<int64_t>(sums.stride())};
    const Status status = MultiplyPartial(*codes, ranks.linear(r), view);
    ASSERT_TRUE(status.ok()) << status.message();
    const reference::Matrix partial = sums.values();
    for (size_t i = 0; i < total.size(); ++i) total[i] += partial.data[i];
  }
  const std::vector<int64_t> acc = AccOf(*whole, *whole_codes);
  for (size_t i = 0; i < acc.size(); ++i) {
    int64_t sum = 0;
    for (const std::vector<int64_t>& part : accs) sum += part[i];
    ASSERT_EQ(sum, acc[i]) << "acc[" << i / out << "][" << i % out << "]";
  }
  TypedMatrix y(values.rows, out, testing::ToElement(y_dtype), 2);
  const Status status =
      FinishPartial(ranks.linear(0), {total.data(), DType::kF32, tokens, columns},
                    {y.data(), y_dtype, tokens, columns, static_cast<int64_t>(y.stride())});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(y.Intact() && sums.Intact());
  testing::ReferenceResult expected =
      testing::RunReference(c.spec, c.linear, c.matrix, ranks.values(), c.options);
  SpreadMagnitude(c.spec, c.linear, c.matrix, accs, &expected);
  CheckOutputs(y.values(), y_dtype, ranks.size(), expected);
}

TEST(RowParallel, EveryKindOfLinear) {
  testing::Random random(testing::TestSeed());
  SCOPED_TRACE(testing::SeedText(testing::TestSeed()));
  const std::string path = testing::TestPath("rows.8vo");
  for (const ModelSpec& spec : testing::SliceableModels(random)) {
    testing::WriteModel(path, spec);
    for (const LinearSpec& linear : spec.linears) {
      for (size_t e = 0; e < linear.weights.size(); ++e) {
        const Linear whole = testing::MustFind(path, linear.name, static_cast<int64_t>(e));
        const reference::Matrix x = testing::SliceActivations(random, 5, linear.weights[e].cols);
        for (const int32_t world : testing::kWorlds) {
          Case c{spec, linear, e, whole, {}};
          if (spec.quantization.method != format::Method::kTensorWise && random.Chance(0.5))
            c.options.scope = format::Scope::kToken;
          if (random.Chance(0.5)) c.options.activations = format::Activations::kSymmetric;
          if (random.Chance(0.5)) c.options.row_rule = format::RowRule::kBelowThreshold;
          CheckSteps(c, world, x, random.Pick(kTypes), random.Pick(kTypes));
          if (::testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

class RowParallelOptionsTest : public ::testing::Test {
 protected:
  RowParallelOptionsTest() {
    testing::Random random(testing::TestSeed());
    LinearSpec linear = testing::RandomLinear(random, "linear", 19, 83);
    linear.kept_index = {1, 40, 41};
    linear.biases = {std::vector<float>(19)};
    for (float& value : linear.biases[0]) value = random.Normal();
    spec_.linears.push_back(linear);
    testing::WriteModel(path_, spec_);
    x_ = testing::SliceActivations(random, 7, 83);
  }

  Case CaseOf(const Linear& whole, const QuantizeOptions& options) const {
    return {spec_, spec_.linears[0], 0, whole, options};
  }

  ModelSpec spec_;
  std::string path_ = testing::TestPath("row_options.8vo");
  reference::Matrix x_;
};

TEST_F(RowParallelOptionsTest, EveryTypeAndOption) {
  const Linear whole = testing::MustFind(path_, "linear");
  for (const int32_t world : {2, 5}) {
    for (const DType x_dtype : kTypes) {
      for (const DType y_dtype : kTypes) {
        for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
          for (const auto rule :
               {format::RowRule::kInlierColumns, format::RowRule::kBelowThreshold}) {
            for (const auto activations :
                 {format::Activations::kAsymmetric, format::Activations::kSymmetric}) {
              for (const float threshold : {0.0f, 3.0f})
                CheckSteps(CaseOf(whole, {threshold, scope, rule, activations}), world, x_, x_dtype,
                           y_dtype);
            }
          }
        }
      }
    }
  }
}

TEST_F(RowParallelOptionsTest, NonFiniteActivations) {
  const Linear whole = testing::MustFind(path_, "linear");
  x_.at(1, 4) = std::numeric_limits<float>::infinity();
  x_.at(2, 4) = std::numeric_limits<float>::infinity();
  x_.at(2, 80) = -std::numeric_limits<float>::infinity();
  x_.at(4, 82) = std::numeric_limits<float>::quiet_NaN();
  for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
    QuantizeOptions options;
    options.scope = scope;
    CheckSteps(CaseOf(whole, options), 3, x_, DType::kF32, DType::kF32);
  }
}

// ---- Through the hook ----

// Ranks as threads of this process.
class Meeting {
 public:
  explicit Meeting(size_t ranks) : data_(ranks), barrier_(static_cast<ptrdiff_t>(ranks)) {}

  struct Seat {
    Meeting* meeting;
    size_t rank;
    std::vector<std::pair<ReduceOp, size_t>> calls;
  };

  static Status Run(void* context, float* data, size_t count, ReduceOp op, void*) {
    Seat& seat = *static_cast<Seat*>(context);
    Meeting& meeting = *seat.meeting;
    seat.calls.emplace_back(op, count);
    meeting.data_[seat.rank] = data;
    meeting.barrier_.arrive_and_wait();
    std::vector<float> result(data, data + count);
    for (size_t i = 0; i < count; ++i) {
      result[i] = meeting.data_[0][i];
      for (size_t r = 1; r < meeting.data_.size(); ++r) {
        const float other = meeting.data_[r][i];
        result[i] = op == ReduceOp::kMax ? std::max(result[i], other) : result[i] + other;
      }
    }
    meeting.barrier_.arrive_and_wait();
    std::copy(result.begin(), result.end(), data);
    return {};
  }

 private:
  std::vector<const float*> data_;
  std::barrier<> barrier_;
};

// y of every rank; each must have the same bits.
reference::Matrix RunMeeting(Ranks& ranks, size_t out, DType y_dtype,
                             const RowParallelOptions& options,
                             std::vector<std::pair<ReduceOp, size_t>>* calls) {
  Meeting meeting(ranks.size());
  std::vector<Meeting::Seat> seats(ranks.size());
  std::vector<reference::Matrix> ys(ranks.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < ranks.size(); ++r) {
    threads.emplace_back([&, r] {
      seats[r] = {&meeting, r, {}};
      const int64_t tokens = ranks.x(r).rows;
      TypedMatrix y(static_cast<size_t>(tokens), out, testing::ToElement(y_dtype), 3);
      Execution execution;
      execution.parallel = kernels::SerialFor();
      testing::GuardedBuffer workspace(
          RowParallelWorkspaceBytes(ranks.linear(r), tokens, execution), 64);
      execution.workspace = {reinterpret_cast<std::byte*>(workspace.data()), workspace.size()};
      const Status status = ForwardRowParallel(
          ranks.linear(r), ranks.x(r),
          {y.data(), y_dtype, tokens, static_cast<int64_t>(out), static_cast<int64_t>(y.stride())},
          {Meeting::Run, &seats[r]}, options, execution);
      EXPECT_TRUE(status.ok()) << status.message();
      EXPECT_TRUE(y.Intact() && workspace.Intact());
      ys[r] = y.values();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const reference::Matrix& y : ys) EXPECT_EQ(y.data, ys[0].data);
  *calls = seats[0].calls;
  return ys[0];
}

TEST_F(RowParallelOptionsTest, TheHookAgreesAndAddsUp) {
  using Calls = std::vector<std::pair<ReduceOp, size_t>>;
  const Linear whole = testing::MustFind(path_, "linear");
  for (const int32_t world : testing::kWorlds) {
    Ranks ranks(whole, world, x_, DType::kF16);
    const std::vector<float> ranges = AgreedRanges(ranks, {});
    std::vector<std::vector<int64_t>> accs;
    for (size_t r = 0; r < ranks.size(); ++r)
      accs.push_back(
          AccOf(ranks.linear(r), *QuantizeWithRanges(ranks.linear(r), ranks.x(r), ranges)));
    testing::ReferenceResult expected =
        testing::RunReference(spec_, spec_.linears[0], 0, ranks.values(), {});
    SpreadMagnitude(spec_, spec_.linears[0], 0, accs, &expected);
    for (const DType y_dtype : kTypes) {
      Calls calls;
      const reference::Matrix y = RunMeeting(ranks, 19, y_dtype, {}, &calls);
      CheckOutputs(y, y_dtype, ranks.size(), expected);
      EXPECT_EQ(calls, (Calls{{ReduceOp::kMax, 14}, {ReduceOp::kSum, 7 * 19}}));
    }
  }
}

// Columns [begin, end) of a linear with its activations, by the reference: what a rank computes
// with local_range.
std::vector<reference::ExactOutput> LocalReference(const ModelSpec& spec, const LinearSpec& linear,
                                                   const reference::Matrix& x, const Slice& part) {
  const auto begin = static_cast<size_t>(part.begin), end = static_cast<size_t>(part.end);
  const reference::QuantizedWeights all = testing::ReferenceWeights(spec, linear);
  reference::QuantizedWeights weights = all;
  weights.in_features = end - begin;
  weights.codes.clear();
  for (size_t n = 0; n < all.out_features; ++n) {
    const auto row = all.codes.begin() + static_cast<ptrdiff_t>(n * all.in_features);
    weights.codes.insert(weights.codes.end(), row + part.begin, row + part.end);
  }
  const reference::KeptColumns whole_kept = testing::ReferenceKept(linear);
  reference::KeptColumns kept;
  std::vector<float> rows;
  for (size_t j = 0; j < whole_kept.index.size(); ++j) {
    if (whole_kept.index[j] < part.begin || whole_kept.index[j] >= part.end) continue;
    kept.index.push_back(whole_kept.index[j] - static_cast<int32_t>(begin));
    for (size_t n = 0; n < all.out_features; ++n) rows.push_back(whole_kept.weight.at(j, n));
  }
  kept.weight = reference::Matrix(kept.index.size(), all.out_features);
  kept.weight.data = rows;
  reference::Matrix cut(x.rows, end - begin);
  for (size_t m = 0; m < x.rows; ++m) {
    for (size_t k = begin; k < end; ++k) cut.at(m, k - begin) = x.at(m, k);
  }
  const reference::QuantizedRows codes = reference::QuantizeActivations(cut, {}, kept.index);
  return reference::MultiplyExactly(cut, codes, weights, kept, {});
}

TEST_F(RowParallelOptionsTest, LocalRangeIsEachRanksOwn) {
  const Linear whole = testing::MustFind(path_, "linear");
  const std::vector<float> bias = testing::ReferenceBias(spec_.linears[0]);
  x_.at(3, 2) = 5.5f;  // so that ranges differ between the ranks
  for (const int32_t world : testing::kWorlds) {
    Ranks ranks(whole, world, x_, DType::kBF16);
    testing::ReferenceResult expected;
    expected.y.resize(7 * 19);
    for (size_t i = 0; i < expected.y.size(); ++i) {
      expected.y[i].y = bias[i % 19];
      expected.y[i].magnitude = std::abs(bias[i % 19]);
    }
    for (size_t r = 0; r < ranks.size(); ++r) {
      const auto part =
          LocalReference(spec_, spec_.linears[0], ranks.values(), *ranks.linear(r).linear().part());
      for (size_t i = 0; i < part.size(); ++i) {
        expected.y[i].y += part[i].y;
        expected.y[i].magnitude += part[i].magnitude;
        expected.y[i].unquantized += part[i].unquantized;
      }
    }
    std::vector<std::pair<ReduceOp, size_t>> calls;
    const reference::Matrix y =
        RunMeeting(ranks, 19, DType::kF32, {.range = RowRange::kLocal}, &calls);
    CheckOutputs(y, DType::kF32, ranks.size(), expected);
    ASSERT_EQ(calls.size(), 1u);
    EXPECT_EQ(calls[0], std::pair(ReduceOp::kSum, size_t{7 * 19}));
  }
}

// ---- Errors ----

class RowParallelErrors : public RowParallelOptionsTest {
 protected:
  RowParallelErrors()
      : whole_(testing::MustFind(path_, "linear")),
        part_(testing::MustPrepareSlice(whole_, 0, 2, SliceAxis::kInFeatures)),
        columns_(part_.in_features()),
        x_data_(static_cast<size_t>(7 * columns_), 1.0f) {}

  ConstTensorView View() const { return {x_data_.data(), DType::kF32, 7, columns_}; }
  TensorView Y() { return {y_.data(), DType::kF32, 7, 19}; }

  static void ExpectInvalid(const Status& status, const std::string& text) {
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
    EXPECT_TRUE(HasText(status, "linear \"linear\": "));
    EXPECT_TRUE(HasText(status, text));
  }

  Linear whole_;
  PreparedLinear part_;
  int64_t columns_;
  std::vector<float> x_data_, y_ = std::vector<float>(7 * 19), ranges_ = std::vector<float>(14);
};

TEST_F(RowParallelErrors, PartialProductsAreNoForward) {
  ExpectInvalid(Forward(part_, View(), Y()), "partial products");
  const auto codes = Quantize(part_, View());
  ASSERT_TRUE(codes.ok()) << codes.status().message();
  ExpectInvalid(Multiply(*codes, part_, Y()), "partial products");
  EXPECT_TRUE(MultiplyPartial(*codes, part_, Y()).ok());
}

TEST_F(RowParallelErrors, OtherLinearsAreNoPart) {
  const PreparedLinear whole = testing::MustPrepare(path_, "linear");
  const std::vector<float> x(7 * 83, 1.0f);
  const ConstTensorView view{x.data(), DType::kF32, 7, 83};
  const std::string text = "no slice of in_features";
  ExpectInvalid(FindRanges(whole, view, ranges_), text);
  ExpectInvalid(QuantizeWithRanges(whole, view, ranges_).status(), text);
  ExpectInvalid(MultiplyPartial(*Quantize(whole, view), whole, Y()), text);
  ExpectInvalid(FinishPartial(whole, Y(), Y()), text);
  ExpectInvalid(ForwardRowParallel(whole, view, Y(), {}), text);
}

TEST_F(RowParallelErrors, RangesThatAreNone) {
  std::vector<float> few(13);
  ExpectInvalid(FindRanges(part_, View(), few), "ranges has 13 numbers; expected 2 for each of 7");
  ExpectInvalid(QuantizeWithRanges(part_, View(), few).status(), "ranges has 13");
  ASSERT_TRUE(FindRanges(part_, View(), ranges_).ok());
  for (const float bad : {-1.0f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    std::vector<float> ranges = ranges_;
    ranges[9] = bad;
    ExpectInvalid(QuantizeWithRanges(part_, View(), ranges).status(), "ranges[9] is");
  }
}

TEST_F(RowParallelErrors, Outputs) {
  const auto codes = QuantizeWithRanges(part_, View(), ranges_);
  ASSERT_TRUE(codes.ok()) << codes.status().message();
  std::vector<uint16_t> halves(7 * 19);
  const TensorView half{halves.data(), DType::kF16, 7, 19};
  ExpectInvalid(MultiplyPartial(*codes, part_, half), "sums is not F32");
  ExpectInvalid(MultiplyPartial(*codes, part_, {y_.data(), DType::kF32, 6, 19}), "sums has 6 rows");
  ExpectInvalid(FinishPartial(part_, half, Y()), "sums is not F32");
  ExpectInvalid(FinishPartial(part_, Y(), {y_.data(), DType::kF32, 6, 19}), "y has 6 rows");
  EXPECT_TRUE(FinishPartial(part_, Y(), half).ok());
  ExpectInvalid(ForwardRowParallel(part_, View(), {y_.data(), DType::kF32, 7, 18}, {}),
                "all_reduce.run is null");
}

TEST_F(RowParallelErrors, WhatTheHookSaysIsPassedOn) {
  struct Failing {
    ReduceOp at;
    int calls = 0;
    static Status Run(void* context, float*, size_t, ReduceOp op, void*) {
      auto& self = *static_cast<Failing*>(context);
      ++self.calls;
      return op == self.at ? Status(ErrorCode::kIo, "rank 1 has left") : Status();
    }
  };
  for (const ReduceOp at : {ReduceOp::kMax, ReduceOp::kSum}) {
    Failing failing{at};
    const Status status = ForwardRowParallel(part_, View(), Y(), {Failing::Run, &failing});
    EXPECT_EQ(status.code(), ErrorCode::kIo);
    EXPECT_TRUE(HasText(status, "linear \"linear\": all-reduce of the "));
    EXPECT_TRUE(HasText(status, "rank 1 has left"));
    EXPECT_EQ(failing.calls, at == ReduceOp::kMax ? 1 : 2);
  }
  // Nothing that another rank would wait in for a call that cannot be.
  Failing never{ReduceOp::kMax};
  ExpectInvalid(
      ForwardRowParallel(part_, View(), {y_.data(), DType::kF32, 7, 18}, {Failing::Run, &never}),
      "y has 18 columns");
  EXPECT_EQ(never.calls, 0);
  // Without rows there is nothing to reduce.
  EXPECT_TRUE(ForwardRowParallel(part_, {nullptr, DType::kF32, 0, columns_},
                                 {nullptr, DType::kF32, 0, 19}, {Failing::Run, &never})
                  .ok());
  EXPECT_EQ(never.calls, 0);
}

TEST_F(RowParallelErrors, AllOfInFeaturesNeedsNoHook) {
  const PreparedLinear all = testing::MustPrepareSlice(whole_, 0, 1, SliceAxis::kInFeatures);
  const std::vector<float> x(7 * 83, 1.0f);
  EXPECT_TRUE(ForwardRowParallel(all, {x.data(), DType::kF32, 7, 83}, Y(), {}).ok());
  EXPECT_EQ(RowParallelWorkspaceBytes(all, -1), SIZE_MAX);
}

}  // namespace
}  // namespace octavo
