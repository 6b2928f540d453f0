// What every product needs: threads, and memory that grows to what the largest call asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include <octavo/linear.h>
#include <octavo/thread_pool.h>

namespace generate {

// One for a program, used by one thread at a time.
class Workshop {
 public:
  explicit Workshop(int32_t num_threads) : pool_(num_threads) {}  // 0: one for each CPU

  // Octavo's pool, for its calls and for this program's own loops. An engine that has threads
  // would fill in a ParallelFor that lends them instead.
  octavo::kernels::ParallelFor threads() { return pool_.parallel_for(); }

  // Calls body(i) for every i in [0, count) on these threads.
  template <class Body>
  void ForEach(int64_t count, Body&& body) {
    using Function = std::remove_reference_t<Body>;
    const octavo::kernels::ParallelFor parallel = threads();
    parallel.run(
        parallel.context, count,
        [](void* context, int64_t i) { (*static_cast<Function*>(context))(i); }, &body);
  }

  // What a call of Octavo's is given. Quantized activations live in their call's workspace until
  // they have been multiplied, so the two kinds of calls do not share one.
  octavo::Execution ForQuantize(size_t workspace_bytes) { return With(quantize_, workspace_bytes); }
  octavo::Execution ForMultiply(size_t workspace_bytes) { return With(multiply_, workspace_bytes); }

 private:
  struct alignas(64) Line {  // a workspace is 64-byte aligned
    std::byte bytes[64];
  };

  octavo::Execution With(std::vector<Line>& memory, size_t bytes) {
    const size_t lines = (bytes + sizeof(Line) - 1) / sizeof(Line);
    if (memory.size() < lines) memory.resize(lines);
    octavo::Execution execution;
    execution.parallel = threads();
    execution.workspace = std::as_writable_bytes(std::span(memory));
    return execution;
  }

  octavo::kernels::ThreadPool pool_;
  std::vector<Line> quantize_;
  std::vector<Line> multiply_;
};

}  // namespace generate
