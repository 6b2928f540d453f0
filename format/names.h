// Names that come from files and what a good one is.
#pragma once

#include <cstddef>
#include <string_view>

#include "octavo/result.h"

namespace octavo::format {

// Well-formed UTF-8: no overlong forms, surrogates or code points above U+10FFFF.
bool IsUtf8(std::string_view text);
// How many bytes of the text are well-formed until the first that is not part of such a sequence.
size_t WellFormedBytes(std::string_view text);

// A tensor's name: 1 to 1024 bytes of UTF-8 without control characters (C0, DEL and C1:
// they would drive the terminal that prints them). Errors: kInvalidFile, naming it.
Status CheckTensorName(std::string_view name);

// A file's name without any folder: not empty, "." or "..", at most 255 bytes of UTF-8, without
// control characters, '/', '\' or ':', so that it cannot leave its folder on any system.
// Errors: kInvalidFile, naming it.
Status CheckBaseName(std::string_view name);

}  // namespace octavo::format
