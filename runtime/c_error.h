// The border of the C interface: a Status becomes a number and a text, and no exception passes.
#pragma once

#include <exception>
#include <new>

#include "octavo/octavo.h"
#include "octavo/result.h"

namespace octavo::c_api {

// Notes the outcome as this thread's last error, and its number.
octavo_status Report(const Status& status);
octavo_status ReportOutOfMemory();

// Runs `body`, which returns Status, for one call of the interface.
template <typename Body>
octavo_status Guard(Body&& body) {
  try {
    return Report(body());
  } catch (const std::bad_alloc&) {
    return ReportOutOfMemory();
  } catch (const std::exception& error) {
    // The standard library's own: a thread that the system refuses, a container too long.
    return Report({ErrorCode::kLimit, error.what()});
  }
}

}  // namespace octavo::c_api
