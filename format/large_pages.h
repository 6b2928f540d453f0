// Memory that will be filled at once, in pages of 2 MiB: a page fault for each 4 KiB takes longer
// than filling them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace octavo::format {

// Room for `count` elements, in large pages where the system grants them and there is enough.
template <typename T>
void ReserveInLargePages(size_t count, std::vector<T>* list) {
  list->reserve(count);
#ifdef __linux__
  constexpr uintptr_t kLargePage = uintptr_t{2} << 20;
  const auto begin = reinterpret_cast<uintptr_t>(list->data());
  const uintptr_t first = (begin + kLargePage - 1) / kLargePage * kLargePage;
  const uintptr_t end = (begin + list->capacity() * sizeof(T)) / kLargePage * kLargePage;
  // Advice: what the system makes of it is fine.
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
}

}  // namespace octavo::format
