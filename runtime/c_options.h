// How the C interface reads its options structs, whatever header the caller was built with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "octavo/result.h"

namespace octavo::c_api {

// No struct of this interface will ever be larger: what claims to be was not initialized.
inline constexpr size_t kLargestStruct = 4096;

// A copy of *options in today's shape. Null: all defaults. From an older header the struct is
// smaller, and what it lacks takes its default, zero. From a newer header it is larger, and
// accepted as long as what is unknown here is zero. Errors: kInvalidArgument.
template <typename Options>
Result<Options> ReadOptions(const Options* options) {
  Options known = {};
  if (options == nullptr) return known;
  const size_t given = options->struct_size;
  if (given < sizeof(size_t) || given > kLargestStruct) {
    return Status(ErrorCode::kInvalidArgument, "struct_size is " + std::to_string(given) +
                                                   "; initialize options with OCTAVO_INIT");
  }
  std::memcpy(&known, options, std::min(given, sizeof(Options)));
  known.struct_size = sizeof(Options);
  const auto* bytes = reinterpret_cast<const unsigned char*>(options);
  for (size_t i = sizeof(Options); i < given; ++i) {
    if (bytes[i] == 0) continue;
    return Status(ErrorCode::kInvalidArgument,
                  "an option is set that this version of the library does not know (struct_size " +
                      std::to_string(given) + ", known " + std::to_string(sizeof(Options)) + ")");
  }
  return known;
}

}  // namespace octavo::c_api
