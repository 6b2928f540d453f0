// A small pool of threads behind the ParallelFor hook, for callers that do not bring their own.
#pragma once

#include <cstdint>
#include <memory>

#include "octavo/kernels.h"

namespace octavo::kernels {

// Owns num_threads - 1 threads (the caller is the last one); idle threads sleep, they never spin
// for long. Thread-safe: calls from several threads take turns; a call from inside a task runs
// serially.
class ThreadPool {
 public:
  // num_threads 0: one for each CPU this process may run on (its affinity mask, not the machine's
  // count).
  explicit ThreadPool(int32_t num_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int32_t num_threads() const;
  // The hook; it refers to this pool, which must outlive it.
  ParallelFor parallel_for();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// CPUs this process may run on, at least 1.
int32_t AvailableCpus();

}  // namespace octavo::kernels
