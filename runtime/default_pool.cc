#include "runtime/default_pool.h"

#include <pthread.h>

#include <atomic>
#include <mutex>
#include <new>

#include "octavo/thread_pool.h"

namespace octavo {
namespace {

// Never destroyed: at exit other threads may still be multiplying.
constinit std::atomic<kernels::ThreadPool*> pool{nullptr};
constinit std::mutex making;

// A child has the pool's memory but none of its threads: it forgets the pool and makes one of its
// own.
void LockForFork() { making.lock(); }
void UnlockInParent() { making.unlock(); }
void ForgetInChild() {
  pool.store(nullptr, std::memory_order_relaxed);
  making.unlock();
}

kernels::ThreadPool* MakePool() {
  const std::lock_guard lock(making);
  kernels::ThreadPool* made = pool.load(std::memory_order_relaxed);
  if (made != nullptr) return made;
  static const int watching = pthread_atfork(LockForFork, UnlockInParent, ForgetInChild);
  static_cast<void>(watching);
  try {
    made = new kernels::ThreadPool;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  pool.store(made, std::memory_order_release);
  return made;
}

}  // namespace

kernels::ParallelFor DefaultParallelFor() {
  kernels::ThreadPool* made = pool.load(std::memory_order_acquire);
  if (made == nullptr) made = MakePool();
  return made == nullptr ? kernels::SerialFor() : made->parallel_for();
}

}  // namespace octavo
