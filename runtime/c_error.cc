#include "runtime/c_error.h"

#include <string>

namespace octavo::c_api {
namespace {

static_assert(int(ErrorCode::kOk) == OCTAVO_OK);
static_assert(int(ErrorCode::kInvalidArgument) == OCTAVO_INVALID_ARGUMENT);
static_assert(int(ErrorCode::kNotFound) == OCTAVO_NOT_FOUND);
static_assert(int(ErrorCode::kAlreadyExists) == OCTAVO_ALREADY_EXISTS);
static_assert(int(ErrorCode::kIo) == OCTAVO_IO);
static_assert(int(ErrorCode::kRefused) == OCTAVO_REFUSED);
static_assert(int(ErrorCode::kLimit) == OCTAVO_LIMIT);
static_assert(int(ErrorCode::kUnsupported) == OCTAVO_UNSUPPORTED);
static_assert(int(ErrorCode::kCancelled) == OCTAVO_CANCELLED);
static_assert(int(ErrorCode::kInvalidFile) == OCTAVO_INVALID_FILE);
static_assert(int(ErrorCode::kNotIntact) == OCTAVO_NOT_INTACT);
static_assert(int(ErrorCode::kNewerFormat) == OCTAVO_NEWER_FORMAT);

struct LastError {
  std::string text;
  bool out_of_memory = false;  // no memory for a text either
};
thread_local LastError last_error;

}  // namespace

octavo_status Report(const Status& status) {
  last_error.out_of_memory = false;
  last_error.text = status.message();
  return static_cast<octavo_status>(status.code());
}

octavo_status ReportOutOfMemory() {
  last_error.out_of_memory = true;
  return OCTAVO_OUT_OF_MEMORY;
}

}  // namespace octavo::c_api

const char* octavo_last_error(void) {
  using octavo::c_api::last_error;
  return last_error.out_of_memory ? "out of memory" : last_error.text.c_str();
}

const char* octavo_status_name(octavo_status status) {
  static const char* const names[] = {
      "ok",         "invalid argument", "not found",    "already exists", "input/output error",
      "refused",    "limit exceeded",   "unsupported",  "cancelled",      "invalid file",
      "not intact", "newer format",     "out of memory"};
  const bool known = status >= OCTAVO_OK && status <= OCTAVO_OUT_OF_MEMORY;
  return known ? names[status] : "unknown status";
}
