// octavo --version: what this binary was built from, and what it reads.
#include <xxhash.h>
#include <zstd.h>

#include "octavo/device.h"
#include "octavo/reader.h"
#include "tools/command.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "gcc " __VERSION__;
#else
constexpr const char* kCompiler = "unknown compiler";
#endif

std::string Kernels() {
  std::string all, selected;
  for (const BackendInfo& backend : ListBackends()) {
    if (!backend.usable) continue;
    all += (all.empty() ? "" : ", ") + backend.name;
    if (backend.selected) selected = backend.name;
  }
  return all + (selected.empty() ? "; none selected" : "; selected: " + selected);
}

}  // namespace

std::string VersionText() {
  const format::FileHeader newest;
  return std::string("octavo ") + OCTAVO_VERSION + "\n" +
         Format("reads     .8vo versions %d.0 to %d.%d\n", newest.version_major,
                newest.version_major, newest.version_minor) +
         "built     " + OCTAVO_BUILD_TYPE + ", " + kCompiler + "\n" + "kernels   " + Kernels() +
         "\n" + "libraries zstd " + ZSTD_versionString() +
         Format(", xxhash %d.%d.%d\n", XXH_VERSION_MAJOR, XXH_VERSION_MINOR, XXH_VERSION_RELEASE);
}

}  // namespace octavo::tools
