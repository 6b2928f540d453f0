// What the opaque pointers of octavo.h point at, and what the calls share.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "octavo/linear.h"
#include "octavo/model.h"
#include "octavo/octavo.h"
#include "octavo/result.h"

struct octavo_model {
  octavo::Model model;
  std::atomic<int64_t> references{1};
};

struct octavo_linear {
  octavo::PreparedLinear prepared;  // keeps the mapping alive
  std::atomic<int64_t> references{1};
};

namespace octavo::c_api {

template <typename Object>
void Retain(Object* object) {
  if (object != nullptr) object->references.fetch_add(1, std::memory_order_relaxed);
}

template <typename Object>
void Release(Object* object) {
  if (object != nullptr && object->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    delete object;
}

inline Status Invalid(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}

inline Status NotNull(const void* pointer, const char* name) {
  return pointer != nullptr ? Status() : Invalid(std::string(name) + " is null");
}

}  // namespace octavo::c_api
