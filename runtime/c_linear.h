// What the calls of the C interface that multiply have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "octavo/linear.h"
#include "octavo/octavo.h"
#include "octavo/result.h"
#include "runtime/c_error.h"
#include "runtime/c_objects.h"
#include "runtime/c_options.h"

namespace octavo::c_api {

// 0: nothing; else the enumerator of an enum with two, plus 1. Errors: kInvalidArgument.
template <typename Enum>
Status ReadChoice(int32_t value, const char* name, std::optional<Enum>* choice) {
  if (value < 0 || value > 2)
    return Invalid(std::string(name) + " is " + std::to_string(value) +
                   ", which is no value of it");
  if (value != OCTAVO_FROM_FILE) *choice = static_cast<Enum>(value - 1);
  return {};
}

// Errors: kInvalidArgument.
Result<QuantizeOptions> ToQuantizeOptions(const octavo_forward_options& options);
Execution ToExecution(const octavo_forward_options& options);
Status NothingReserved(const octavo_tensor& tensor, const char* name);
TensorView ToView(const octavo_tensor& tensor);

// A new object with one reference. Errors: those of Linear::slice and Prepare.
Result<octavo_linear*> PrepareFor(Linear linear, const octavo_prepare_options* options);

// The workspace queries: `query` is called with the linear and the call's Execution.
template <typename Query>
octavo_status WorkspaceBytes(const octavo_linear* linear, int64_t tokens,
                             const octavo_forward_options* options, size_t* bytes, Query&& query) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    OCTAVO_RETURN_IF_ERROR(NotNull(bytes, "bytes"));
    OCTAVO_ASSIGN_OR_RETURN(const octavo_forward_options known, ReadOptions(options));
    if (tokens < 0) return Invalid("tokens is " + std::to_string(tokens));
    const size_t needed = query(linear->prepared, ToExecution(known));
    if (needed > PTRDIFF_MAX)
      return {ErrorCode::kLimit,
              std::to_string(tokens) + " tokens need more workspace than an address space has"};
    *bytes = needed;
    return {};
  });
}

}  // namespace octavo::c_api
