#include "format/shard_plan.h"

#include <cstdio>
#include <vector>

#include "format/digest.h"
#include "format/file.h"

namespace octavo::format {
namespace {

std::vector<std::byte> FromHex(const std::string& text) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 16 <= text.size(); i += 16) {
    const uint64_t half = DigestFromHex(std::string_view(text).substr(i, 16)).value_or(0);
    for (int shift = 56; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<std::byte>(half >> shift));
    }
  }
  return bytes;
}

}  // namespace

std::string StemOf(const std::string& path) {
  std::string name = BaseNameOf(path);
  constexpr std::string_view kExtension = ".8vo";
  if (name.size() > kExtension.size() && name.ends_with(kExtension)) {
    name.resize(name.size() - kExtension.size());
  }
  return name;
}

std::string ShardName(const std::string& stem, std::span<const std::string> manifest_xxh3,
                      size_t shard_idx) {
  std::vector<std::byte> digests;
  for (const std::string& text : manifest_xxh3) {
    const std::vector<std::byte> digest = FromHex(text);
    digests.insert(digests.end(), digest.begin(), digest.end());
  }
  char position[48];
  std::snprintf(position, sizeof(position), "-%05zu-of-%05zu.8vo", shard_idx + 1,
                manifest_xxh3.size());
  return stem + "-" + Hex(Xxh3Wide(digests)).substr(0, 8) + position;
}

}  // namespace octavo::format
