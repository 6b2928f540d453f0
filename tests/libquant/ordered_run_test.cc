#include "libquant/ordered_run.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace octavo::quant {
namespace {

// Records what happened; items in `fail` fail when computed, `fail_commit` when committed.
class Recorder : public ItemStages {
 public:
  Status Compute(size_t item, size_t) override {
    ++computed;
    if (item % 3 == 0) std::this_thread::yield();
    if (item == throw_at) throw std::bad_alloc();
    if (item >= fail_from) {  // long enough for several of them to be on their way
      std::this_thread::sleep_for(std::chrono::milliseconds(item % 2 == slow_parity ? 10 : 3));
    }
    if (item >= fail_from) return Status(ErrorCode::kRefused, std::to_string(item));
    return {};
  }
  Status Commit(size_t item, size_t) override {
    committed.push_back(item);
    return item == fail_commit ? Status(ErrorCode::kIo, "commit") : Status();
  }
  Status Finish(size_t, size_t) override {
    ++finished;
    return {};
  }

  size_t fail_from = SIZE_MAX;
  size_t slow_parity = 2;  // 0 or 1: failing items of that parity take longer
  size_t fail_commit = SIZE_MAX;
  size_t throw_at = SIZE_MAX;
  std::atomic<size_t> computed = 0;
  std::atomic<size_t> finished = 0;
  std::vector<size_t> committed;
};

TEST(RunOrdered, CommitsInOrder) {
  for (const int32_t threads : {1, 2, 7}) {
    Recorder recorder;
    ASSERT_TRUE(RunOrdered(1000, threads, &recorder).ok());
    ASSERT_EQ(recorder.committed.size(), 1000u);
    for (size_t i = 0; i < 1000; ++i) ASSERT_EQ(recorder.committed[i], i);
    EXPECT_EQ(recorder.finished, 1000u);
  }
}

TEST(RunOrdered, DoesNothingForNoItems) {
  Recorder recorder;
  EXPECT_TRUE(RunOrdered(0, 4, &recorder).ok());
  EXPECT_EQ(recorder.computed, 0u);
}

TEST(RunOrdered, ReturnsTheErrorOfTheLowestItem) {
  for (size_t repeat = 0; repeat < 30; ++repeat) {
    Recorder recorder;
    recorder.fail_from = 100;  // this one and every one after it
    recorder.slow_parity = repeat % 3;
    const Status status = RunOrdered(1000, 7, &recorder);
    EXPECT_EQ(status.message(), "100");
    EXPECT_LE(recorder.computed, 107u);
    EXPECT_LE(recorder.committed.size(), 100u);
  }
}

TEST(RunOrdered, StopsWhenACommitFails) {
  Recorder recorder;
  recorder.fail_commit = 10;
  EXPECT_EQ(RunOrdered(1000, 4, &recorder).code(), ErrorCode::kIo);
  EXPECT_EQ(recorder.committed.size(), 11u);
}

TEST(RunOrdered, TurnsMissingMemoryIntoAnError) {
  Recorder recorder;
  recorder.throw_at = 5;
  EXPECT_EQ(RunOrdered(10, 3, &recorder).code(), ErrorCode::kLimit);
}

}  // namespace
}  // namespace octavo::quant
