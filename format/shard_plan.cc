#include "format/shard_plan.h"

#include <cstdio>

#include "format/digest.h"
#include "format/layout.h"

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
  std::string name = path.substr(path.find_last_of('/') + 1);
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

uint64_t BundleOverhead(uint64_t raw_bytes) {
  // Codes and one more large tensor start at pages; digests take 19 bytes for each chunk of about 1
  // MiB.
  const uint64_t alignment = raw_bytes >= kPageAlignedBytes ? 2 * kPageAlignment : 4 * kAlignment;
  return alignment + raw_bytes / 32'768 + 2048;
}

uint64_t ManifestBytes(const TensorEntry& tensor) {
  return 512 + 4 * tensor.name.size() + 19 * tensor.xxh3.size() + 9 * tensor.stored.size();
}

}  // namespace octavo::format
