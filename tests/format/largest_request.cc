// Replaces operator new of the program that links it. A file of its own: inlined beside its
// callers, a replacement makes GCC 12 warn of mismatched pairs.
#include "tests/format/largest_request.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<size_t> largest_request = 0;
}  // namespace

void* operator new(size_t bytes) {
  size_t seen = largest_request;
  while (bytes > seen && !largest_request.compare_exchange_weak(seen, bytes)) {
  }
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
void* operator new[](size_t bytes) { return operator new(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace octavo::testing {

void ForgetRequests() { largest_request = 0; }
size_t LargestRequest() { return largest_request; }

}  // namespace octavo::testing
