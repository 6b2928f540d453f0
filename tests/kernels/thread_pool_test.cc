// The pool, and that results never depend on how work is spread.
#include "octavo/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/kernels/linear_case.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

struct Counts {
  explicit Counts(size_t size) : calls(size) {}
  std::vector<std::atomic<int>> calls;
  static void Task(void* context, int64_t i) {
    ++static_cast<Counts*>(context)->calls[static_cast<size_t>(i)];
  }
  bool each_is(int expected) const {
    for (const std::atomic<int>& count : calls) {
      if (count != expected) return false;
    }
    return true;
  }
};

void Spread(const ParallelFor& parallel, int64_t count, ParallelFor::Task task, void* context) {
  parallel.run(parallel.context, count, task, context);
}

TEST(ThreadPool, RunsEachIndexOnce) {
  for (const int32_t threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    EXPECT_EQ(pool.parallel_for().num_threads, threads);
    for (const int64_t count : {0, 1, 2, 3, 1000}) {
      Counts counts(static_cast<size_t>(count));
      for (int repeat = 1; repeat <= 20; ++repeat) {
        Spread(pool.parallel_for(), count, Counts::Task, &counts);
        ASSERT_TRUE(counts.each_is(repeat)) << threads << " threads, " << count << " tasks";
      }
    }
  }
}

TEST(ThreadPool, ZeroMeansTheCpusOfThisProcess) {
  EXPECT_GE(AvailableCpus(), 1);
  EXPECT_EQ(ThreadPool(0).num_threads(), AvailableCpus());
}

TEST(ThreadPool, TasksRunOnSeveralThreads) {
  ThreadPool pool(2);
  struct Meeting {
    std::atomic<int> here{0};
    static void Task(void* context, int64_t) {
      // Both tasks must be under way at once, or this would never return.
      Meeting& meeting = *static_cast<Meeting*>(context);
      ++meeting.here;
      while (meeting.here < 2) std::this_thread::yield();
    }
  } meeting;
  Spread(pool.parallel_for(), 2, Meeting::Task, &meeting);
  EXPECT_EQ(meeting.here, 2);
}

TEST(ThreadPool, ACallFromInsideATaskRunsSerially) {
  ThreadPool pool(3);
  struct Nested {
    ThreadPool& pool;
    Counts counts{100};
    std::atomic<int> wrong_thread{0};
  } nested{pool};
  const auto outer = [](void* context, int64_t) {
    struct Inner {
      Nested& nested;
      std::thread::id thread;
    } inner{*static_cast<Nested*>(context), std::this_thread::get_id()};
    const auto task = [](void* inner_context, int64_t i) {
      Inner& in = *static_cast<Inner*>(inner_context);
      if (std::this_thread::get_id() != in.thread) ++in.nested.wrong_thread;
      Counts::Task(&in.nested.counts, i);
    };
    Spread(inner.nested.pool.parallel_for(), 100, task, &inner);
  };
  Spread(pool.parallel_for(), 8, outer, &nested);
  EXPECT_TRUE(nested.counts.each_is(8));
  EXPECT_EQ(nested.wrong_thread, 0);
}

TEST(ThreadPool, CallersTakeTurns) {
  ThreadPool pool(3);
  Counts counts(50);
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 100; ++repeat)
        Spread(pool.parallel_for(), 50, Counts::Task, &counts);
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(counts.each_is(400));
}

class Threads : public EachTable {};
OCTAVO_FOR_EACH_TABLE(Threads);

// An engine's hook: backwards, each task on a thread of its own, claiming far more threads than it
// has.
void RunBackwards(void*, int64_t count, ParallelFor::Task task, void* task_context) {
  for (int64_t i = count - 1; i >= 0; --i) std::thread([=] { task(task_context, i); }).join();
}

TEST_P(Threads, ResultsDoNotDependOnThreadsOrHook) {
  testing::Random random(testing::TestSeed());
  ThreadPool two(2), seven(7);
  const ParallelFor hooks[] = {{nullptr, nullptr, 1},
                               two.parallel_for(),
                               seven.parallel_for(),
                               {RunBackwards, nullptr, 19},
                               {RunBackwards, nullptr, 0}};
  for (const Scope scope : {Scope::kBatch, Scope::kToken}) {
    for (const reference::Method method :
         {reference::Method::kVectorWise, reference::Method::kZeropointTensor}) {
      if (scope == Scope::kToken && method == reference::Method::kZeropointTensor) continue;
      LinearCase c;
      c.x = RandomActivations(random, 150, 131, 0.05);
      c.w = RandomMatrix(random, 200, 131);
      c.method = method;
      c.options.scope = scope;
      c.kept_index = {7, 130};
      PreparedCase prepared(table(), c);
      const QuantizedCase serial(table(), prepared);
      const reference::Matrix expected =
          RunMultiply(table(), prepared, *serial, ElementType::kFloat32).values();
      for (const ParallelFor& hook : hooks) {
        const QuantizedCase quantized(table(), prepared, hook);
        ASSERT_EQ(std::memcmp((*quantized).codes, (*serial).codes, 150 * (*serial).code_stride), 0);
        ASSERT_EQ(RunMultiply(table(), prepared, *quantized, ElementType::kFloat32, 0, hook)
                      .values()
                      .data,
                  expected.data);
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
