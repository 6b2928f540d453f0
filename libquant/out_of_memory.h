// Memory that there is not, as an error like any other.
#pragma once

#include <new>
#include <type_traits>

#include "octavo/result.h"

namespace octavo::quant {

// What `work()` returns, a Status or a Result; kLimit where an allocation failed.
template <typename Work>
std::invoke_result_t<Work> CatchOutOfMemory(Work work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status(ErrorCode::kLimit, "out of memory");
  }
}

}  // namespace octavo::quant
