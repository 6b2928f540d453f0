#include "libquant/ordered_run.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "libquant/out_of_memory.h"

namespace octavo::quant {
namespace {

class Run {
 public:
  Run(size_t first_item, size_t num_items, ItemStages* stages)
      : num_items_(num_items), stages_(stages), next_(first_item), committed_(first_item) {}

  // One thread's share.
  void Work(size_t worker) {
    while (!stopped_.load(std::memory_order_relaxed)) {
      const size_t item = next_.fetch_add(1);
      if (item >= num_items_) return;
      Status status = CatchOutOfMemory([&] { return Process(item, worker); });
      if (!status.ok()) Fail(item, std::move(status));
    }
  }
  void Fail(size_t item, Status status) {
    const std::lock_guard lock(mutex_);
    if (error_.ok() || item < error_item_) {
      error_ = std::move(status);
      error_item_ = item;
    }
    stopped_ = true;
    turn_.notify_all();
  }
  const Status& error() const { return error_; }

 private:
  Status Process(size_t item, size_t worker) {
    OCTAVO_RETURN_IF_ERROR(stages_->Compute(item, worker));
    {
      std::unique_lock lock(mutex_);
      turn_.wait(lock, [&] { return committed_ == item || stopped_; });
      if (stopped_) return {};
      OCTAVO_RETURN_IF_ERROR(stages_->Commit(item, worker));
      ++committed_;
      turn_.notify_all();
    }
    return stages_->Finish(item, worker);
  }

  const size_t num_items_;
  ItemStages* const stages_;
  std::atomic<size_t> next_;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;
  std::condition_variable turn_;
  size_t committed_;
  size_t error_item_ = 0;
  Status error_;
};

}  // namespace

Status RunOrdered(size_t num_items, int32_t num_threads, ItemStages* stages, size_t first_item) {
  Run run(first_item, num_items, stages);
  std::vector<std::thread> threads;
  const size_t num_workers = std::min(static_cast<size_t>(std::max(num_threads, 1)), num_items);
  threads.reserve(num_workers);
  try {
    for (size_t worker = 1; worker < num_workers; ++worker) {
      threads.emplace_back([&run, worker] { run.Work(worker); });
    }
  } catch (const std::system_error&) {
    // The system gives no more threads: those that run are enough.
  }
  run.Work(0);
  for (std::thread& thread : threads) thread.join();
  return run.error();
}

}  // namespace octavo::quant
