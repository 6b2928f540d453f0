// A small text file that a user names on the command line.
#pragma once

#include <string>

#include "octavo/result.h"

namespace octavo::tools {

// Errors: kNotFound, kIo, kLimit (more than 256 MiB), each naming the file.
Result<std::string> ReadTextFile(const std::string& path);

// An output must not replace what is read. Errors: kInvalidArgument if both are the same file.
Status CheckNotInput(const std::string& output, const std::string& input);

}  // namespace octavo::tools
