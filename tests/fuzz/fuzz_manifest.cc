// Any text as a manifest, of a file and of an index. What parses is written again and reads back
// equal.
#include <string>

#include "octavo/manifest.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using octavo::fuzz::Require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool is_index : {false, true}) {
    const auto manifest = octavo::format::ParseManifest(text, is_index);
    if (!manifest.ok()) {
      Require(manifest.code() == octavo::ErrorCode::kInvalidFile);
      continue;
    }
    if (is_index && manifest->shards.empty()) continue;  // no file: its header counts at least one
    const std::string canonical = octavo::format::SerializeManifest(*manifest);
    const auto again = octavo::format::ParseManifest(canonical, is_index);
    Require(again.ok());
    Require(octavo::format::SerializeManifest(*again) == canonical);
  }
  return 0;
}
