// The annotated hex dump of docs/format.md, section 11, made from a file's own header and manifest.
#pragma once

#include <string>

namespace octavo::testing {

// Requires: a sound file at `path`.
std::string AnnotatedDump(const std::string& path);

}  // namespace octavo::testing
