// A small text file that a user names on the command line.
#pragma once

#include <string>

#include "octavo/result.h"

namespace octavo::tools {

// Errors: kNotFound, kIo, kLimit (more than 256 MiB), each naming the file.
Result<std::string> ReadTextFile(const std::string& path);

}  // namespace octavo::tools
