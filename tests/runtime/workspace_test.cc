// What a call is given is enough: no allocation with a workspace, no byte used beyond the query's
// answer.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "octavo/row_parallel.h"
#include "octavo/thread_pool.h"
#include "tests/runtime/test_model.h"
#include "tests/testing/guarded_buffer.h"

namespace {

std::atomic<int64_t> allocations{0};

void* Allocate(size_t bytes, size_t alignment) {
  ++allocations;
  return std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
}

void* AllocateOrThrow(size_t bytes, size_t alignment) {
  void* memory = Allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Every operator new of the process, threads of the pool included, is counted.
void* operator new(size_t bytes) { return AllocateOrThrow(bytes, 16); }
void* operator new[](size_t bytes) { return AllocateOrThrow(bytes, 16); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return AllocateOrThrow(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return Allocate(bytes, 16); }
void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return Allocate(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(memory);
}

namespace octavo {
namespace {

class Workspace : public ::testing::Test {
 protected:
  static constexpr int64_t kIn = 200, kOut = 150, kMaxTokens = 130;

  Workspace() {
    testing::Random random(testing::TestSeed());
    testing::ModelSpec spec;
    testing::LinearSpec linear = testing::RandomLinear(random, "linear", kOut, kIn);
    linear.kept_index = {1, 100};
    spec.linears.push_back(linear);
    const std::string path = testing::TestPath("workspace.8vo");
    testing::WriteModel(path, spec);
    linear_.emplace(testing::MustPrepare(path, "linear"));
    for (float& value : x_) value = random.Normal(3.0f);
  }

  Status Run(int64_t tokens, const QuantizeOptions& options, const Execution& execution) {
    return Forward(*linear_, {x_.data(), DType::kF32, tokens, kIn},
                   {y_.data(), DType::kF32, tokens, kOut}, options, execution);
  }

  static std::vector<QuantizeOptions> EveryOption() {
    std::vector<QuantizeOptions> all;
    for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
      for (const auto rule : {format::RowRule::kInlierColumns, format::RowRule::kBelowThreshold}) {
        for (const auto activations :
             {format::Activations::kAsymmetric, format::Activations::kSymmetric})
          all.push_back({6.0f, scope, rule, activations});
      }
    }
    return all;
  }

  std::optional<PreparedLinear> linear_;
  std::vector<float> x_ = std::vector<float>(kMaxTokens * kIn);
  std::vector<float> y_ = std::vector<float>(kMaxTokens * kOut);
};

TEST_F(Workspace, ForwardAllocatesNothingWithOne) {
  const size_t bytes = ForwardWorkspaceBytes(*linear_, kMaxTokens);  // makes the pool
  testing::GuardedBuffer memory(bytes, 64);
  Execution execution;
  execution.workspace = {reinterpret_cast<std::byte*>(memory.data()), bytes};
  const std::vector<QuantizeOptions> every_option = EveryOption();
  const int64_t before = allocations;
  for (const QuantizeOptions& options : every_option) {
    for (const int64_t tokens : {0, 1, 17, 130}) {
      if (!Run(tokens, options, execution).ok()) std::abort();
    }
  }
  EXPECT_EQ(allocations - before, 0);
  execution.workspace = {};
  const int64_t counted = allocations;
  ASSERT_TRUE(Run(1, {}, execution).ok());
  EXPECT_GT(allocations - counted, 0) << "the count counts nothing";
}

TEST_F(Workspace, ForwardRowParallelAllocatesNothingWithOne) {
  const Result<Linear> half = linear_->linear().slice_features(0, kIn / 2, SliceAxis::kInFeatures);
  const Result<PreparedLinear> prepared = Prepare(*half);
  ASSERT_TRUE(prepared.ok()) << prepared.status().message();
  const size_t bytes = RowParallelWorkspaceBytes(*prepared, kMaxTokens);
  testing::GuardedBuffer memory(bytes, 64);
  Execution execution;
  execution.workspace = {reinterpret_cast<std::byte*>(memory.data()), bytes};
  const AllReduce alone{[](void*, float*, size_t, ReduceOp, void*) { return Status(); }};
  const std::vector<QuantizeOptions> every_option = EveryOption();
  const int64_t before = allocations;
  for (const QuantizeOptions& options : every_option) {
    for (const int64_t tokens : {0, 1, 17, 130}) {
      const Status status =
          ForwardRowParallel(*prepared, {x_.data(), DType::kF32, tokens, kIn / 2, kIn},
                             {y_.data(), DType::kF32, tokens, kOut}, alone, {options}, execution);
      if (!status.ok()) std::abort();
    }
  }
  EXPECT_EQ(allocations - before, 0);
  EXPECT_TRUE(memory.Intact());
}

TEST_F(Workspace, ExactlyTheBytesOfTheQueryAreEnough) {
  kernels::ThreadPool pool(3);
  for (const auto& parallel : {kernels::ParallelFor{}, kernels::SerialFor(), pool.parallel_for()}) {
    for (const int64_t tokens : {0, 1, 2, 63, 64, 65, 130}) {
      Execution execution;
      execution.parallel = parallel;
      const size_t bytes = ForwardWorkspaceBytes(*linear_, tokens, execution);
      testing::GuardedBuffer memory(bytes, 64);  // faults at any byte beyond
      execution.workspace = {reinterpret_cast<std::byte*>(memory.data()), bytes};
      for (const QuantizeOptions& options : EveryOption()) {
        const Status status = Run(tokens, options, execution);
        EXPECT_TRUE(status.ok()) << status.message();
        EXPECT_TRUE(memory.Intact());
      }
    }
  }
}

TEST_F(Workspace, TwoStepsNeedWhatTheirQueriesSay) {
  const size_t quantize_bytes = QuantizeWorkspaceBytes(*linear_, 70);
  const size_t multiply_bytes = MultiplyWorkspaceBytes(*linear_, 70);
  testing::GuardedBuffer first(quantize_bytes, 64), second(multiply_bytes, 64);
  Execution quantize, multiply;
  quantize.workspace = {reinterpret_cast<std::byte*>(first.data()), quantize_bytes};
  multiply.workspace = {reinterpret_cast<std::byte*>(second.data()), multiply_bytes};
  const auto quantized = Quantize(*linear_, {x_.data(), DType::kF32, 70, kIn}, {}, quantize);
  ASSERT_TRUE(quantized.ok()) << quantized.status().message();
  EXPECT_TRUE(Multiply(*quantized, *linear_, {y_.data(), DType::kF32, 70, kOut}, multiply).ok());
  multiply.workspace = multiply.workspace.first(multiply_bytes - 1);
  EXPECT_EQ(Multiply(*quantized, *linear_, {y_.data(), DType::kF32, 70, kOut}, multiply).code(),
            ErrorCode::kInvalidArgument);
}

TEST_F(Workspace, QueriesGrowWithTokens) {
  size_t last = 0;
  for (int64_t tokens = 0; tokens < 300; ++tokens) {
    const size_t bytes = ForwardWorkspaceBytes(*linear_, tokens);
    EXPECT_GE(bytes, last) << tokens;  // "up to" that many rows
    last = bytes;
  }
}

TEST_F(Workspace, MemoryThatCannotBeHadIsAnError) {
  // No elements, so that the views are possible and only the workspace is not.
  testing::ModelSpec spec;
  testing::LinearSpec linear;
  linear.name = "empty";
  linear.weights.emplace_back(0, 0);
  spec.linears.push_back(linear);
  const std::string path = testing::TestPath("empty.8vo");
  testing::WriteModel(path, spec);
  const PreparedLinear empty = testing::MustPrepare(path, "empty");
  const Status status = Forward(empty, {nullptr, DType::kF16, int64_t{1} << 61, 0},
                                {nullptr, DType::kF16, int64_t{1} << 61, 0});
  EXPECT_EQ(status.code(), ErrorCode::kLimit) << status.message();
}

}  // namespace
}  // namespace octavo
