// What the process says at its end; the same numbers for every verb.
#pragma once

#include "octavo/result.h"

namespace octavo::tools {

enum ExitCode {
  kDone = 0,
  kFailed = 1,
  kWrongUsage = 2,
  kInvalid = 3,  // a file breaks its format's rules, or is not intact
};

inline ExitCode ExitCodeOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk:
      return kDone;
    case ErrorCode::kInvalidArgument:
      return kWrongUsage;
    case ErrorCode::kInvalidFile:
    case ErrorCode::kNotIntact:
    case ErrorCode::kNewerFormat:
      return kInvalid;
    default:
      return kFailed;
  }
}

}  // namespace octavo::tools
