#include "octavo/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace octavo::kernels {
namespace {

// A task that calls the hook again must not wait for threads that may all be waiting in the same
// way.
thread_local bool inside_task = false;

void RunSerially(void*, int64_t count, ParallelFor::Task task, void* task_context) {
  for (int64_t i = 0; i < count; ++i) task(task_context, i);
}

struct Job {
  ParallelFor::Task task;
  void* task_context;
  int64_t count;
  std::atomic<int64_t> next{0};
};

void Work(Job& job) {
  inside_task = true;
  for (int64_t i = job.next++; i < job.count; i = job.next++) job.task(job.task_context, i);
  inside_task = false;
}

}  // namespace

ParallelFor SerialFor() { return {RunSerially, nullptr, 1}; }

int32_t AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
}

struct ThreadPool::State {
  std::mutex turn;  // one caller at a time

  std::mutex mutex;  // guards what follows
  std::condition_variable job_ready;
  std::condition_variable job_left;
  Job* job = nullptr;       // null: nothing to do
  uint64_t job_number = 0;  // so that a thread takes part in a job once
  int busy = 0;             // threads that may still touch `job`
  bool stopping = false;

  std::vector<std::thread> threads;

  void ThreadMain();
  void Run(int64_t count, ParallelFor::Task task, void* task_context);
};

void ThreadPool::State::ThreadMain() {
  uint64_t seen = 0;
  std::unique_lock lock(mutex);
  while (true) {
    job_ready.wait(lock, [&] { return stopping || (job != nullptr && job_number != seen); });
    if (stopping) return;
    seen = job_number;
    Job& current = *job;
    ++busy;
    lock.unlock();
    Work(current);
    lock.lock();
    if (--busy == 0) job_left.notify_one();
  }
}

void ThreadPool::State::Run(int64_t count, ParallelFor::Task task, void* task_context) {
  if (inside_task || threads.empty() || count <= 1)
    return RunSerially(nullptr, count, task, task_context);
  const std::lock_guard my_turn(turn);
  Job mine{task, task_context, count};
  {
    const std::lock_guard lock(mutex);
    job = &mine;
    ++job_number;
  }
  job_ready.notify_all();
  Work(mine);
  std::unique_lock lock(mutex);
  job = nullptr;  // threads that have not woken up yet find nothing
  job_left.wait(lock, [&] { return busy == 0; });
}

ThreadPool::ThreadPool(int32_t num_threads) : state_(std::make_unique<State>()) {
  const int32_t wanted = num_threads > 0 ? num_threads : AvailableCpus();
  State* state = state_.get();
  try {
    for (int32_t i = 1; i < wanted; ++i)
      state->threads.emplace_back([state] { state->ThreadMain(); });
  } catch (const std::system_error&) {
    // The system gives no more threads: those that started, and the caller, do the work.
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->job_ready.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

int32_t ThreadPool::num_threads() const { return static_cast<int32_t>(state_->threads.size()) + 1; }

ParallelFor ThreadPool::parallel_for() {
  const auto run = [](void* context, int64_t count, ParallelFor::Task task, void* task_context) {
    static_cast<State*>(context)->Run(count, task, task_context);
  };
  return {run, state_.get(), num_threads()};
}

}  // namespace octavo::kernels
