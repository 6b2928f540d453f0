// One prepared linear under many threads, borrowed threads, forks, and objects that die in any
// order.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "octavo/thread_pool.h"
#include "tests/runtime/test_model.h"

namespace octavo {
namespace {

class Threads : public ::testing::Test {
 protected:
  static constexpr int64_t kIn = 96, kOut = 130, kTokens = 40;

  Threads() {
    testing::Random random(testing::TestSeed());
    testing::ModelSpec spec;
    spec.linears.push_back(testing::RandomLinear(random, "linear", kOut, kIn));
    testing::WriteModel(path_, spec);
    for (float& value : x_) value = random.Normal(2.5f);
    linear_.emplace(testing::MustPrepare(path_, "linear"));
  }

  std::vector<float> Run(const Execution& execution = {}, const QuantizeOptions& options = {}) {
    std::vector<float> y(kTokens * kOut);
    const Status status = Forward(*linear_, {x_.data(), DType::kF32, kTokens, kIn},
                                  {y.data(), DType::kF32, kTokens, kOut}, options, execution);
    if (!status.ok()) y.clear();
    return y;
  }

  std::string path_ = testing::TestPath("threads.8vo");
  std::vector<float> x_ = std::vector<float>(kTokens * kIn);
  std::optional<PreparedLinear> linear_;
};

TEST_F(Threads, ManyMayMultiplyAtOnce) {
  const std::vector<float> expected = Run();
  ASSERT_FALSE(expected.empty());
  std::atomic<int> differing{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 20; ++repeat) {
        Execution execution;
        if (i % 2 == 1) execution.parallel = kernels::SerialFor();
        differing += Run(execution) != expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(differing, 0);
}

TEST_F(Threads, ActivationsMayBeShared) {
  const std::vector<float> expected = Run();
  const auto quantized = Quantize(*linear_, {x_.data(), DType::kF32, kTokens, kIn});
  ASSERT_TRUE(quantized.ok());
  std::atomic<int> differing{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      std::vector<float> y(kTokens * kOut);
      const Status status = Multiply(*quantized, *linear_, {y.data(), DType::kF32, kTokens, kOut});
      differing += !status.ok() || y != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(differing, 0);
}

// Threads that a caller lends, and how often they were asked.
struct Lender {
  std::atomic<int> calls{0};
  std::atomic<int64_t> tasks{0};

  kernels::ParallelFor parallel_for() {
    kernels::ParallelFor parallel;
    parallel.context = this;
    parallel.num_threads = 5;
    parallel.run = [](void* context, int64_t count, kernels::ParallelFor::Task task,
                      void* task_context) {
      auto* lent = static_cast<Lender*>(context);
      ++lent->calls;
      lent->tasks += count;
      std::vector<std::thread> threads;
      for (int64_t i = count - 1; i >= 0; --i) threads.emplace_back(task, task_context, i);
      for (std::thread& thread : threads) thread.join();
    };
    return parallel;
  }
};

TEST_F(Threads, BorrowedThreadsDoTheWork) {
  Lender lender;
  Execution execution;
  execution.parallel = lender.parallel_for();
  for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
    QuantizeOptions options;
    options.scope = scope;
    EXPECT_EQ(Run(execution, options), Run({}, options));
  }
  EXPECT_GE(lender.calls, 2);
  EXPECT_GT(lender.tasks, lender.calls);
}

TEST(ThreadsOfPrepare, AreBorrowedToo) {
  testing::Random random(testing::TestSeed());
  testing::ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 1100, 2048));
  const std::string path = testing::TestPath("large.8vo");
  testing::WriteModel(path, spec);
  Lender lender;
  const PreparedLinear prepared =
      testing::MustPrepare(path, "linear", 0, {.parallel = lender.parallel_for()});
  const bool is_packed = prepared.owned_bytes() >= 1100 * 2048;
  EXPECT_EQ(lender.calls, is_packed ? 1 : 0);
}

TEST_F(Threads, ResultsDoNotDependOnTheirNumber) {
  const std::vector<float> expected = Run();
  for (const int32_t num_threads : {1, 2, 7}) {
    kernels::ThreadPool pool(num_threads);
    Execution execution;
    execution.parallel = pool.parallel_for();
    EXPECT_EQ(Run(execution), expected) << num_threads;
  }
}

TEST_F(Threads, TheModelMayDieBeforeItsLinear) {
  const std::vector<float> expected = Run();
  std::optional<Model> model(*Model::Open(path_));
  std::optional<Linear> linear(*model->linear("linear"));
  model.reset();
  EXPECT_EQ(linear->name(), "linear");
  linear_.emplace(*Prepare(*linear));
  linear.reset();
  EXPECT_EQ(linear_->linear().name(), "linear");
  EXPECT_EQ(Run(), expected);
  PreparedLinear moved = std::move(*linear_);
  linear_.emplace(std::move(moved));
  EXPECT_EQ(Run(), expected);
}

// A child has none of the pool's threads, and its locks as they were while another thread was in a
// call.
TEST_F(Threads, AForkedChildMultipliesToo) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer does not support threads in a forked child";
#endif
  const std::vector<float> expected = Run();
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) Run();
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      _exit(Run() == expected ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    if (HasFailure()) break;
  }
  stop = true;
  busy.join();
  EXPECT_EQ(Run(), expected);
}

}  // namespace
}  // namespace octavo
