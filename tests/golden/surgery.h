// Takes .8vo files apart and puts them together again with one thing changed and all digests right, so that a test breaks
// one rule and no other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/manifest.h"

namespace octavo::testing {

using Bytes = std::vector<std::byte>;

Bytes Load(const std::string& path);
void Save(const std::string& path, std::span<const std::byte> bytes);

uint64_t LoadInteger(std::span<const std::byte> bytes, size_t at, size_t width);
void StoreInteger(Bytes* bytes, size_t at, size_t width, uint64_t value);

// The header's commit field anew, after a change to bytes 0 to 111.
void Recommit(Bytes* bytes);
// A header field changed, commit right.
Bytes WithHeaderField(Bytes bytes, size_t at, size_t width, uint64_t value);

std::string ManifestText(std::span<const std::byte> bytes);
// Another manifest text from manifest_offset on; the payloads stay.
Bytes WithManifestText(const Bytes& bytes, std::string_view text);
// `from`, which must be there, becomes `to` at its first place.
std::string Replaced(std::string text, std::string_view from, std::string_view to);
Bytes WithReplaced(const Bytes& bytes, std::string_view from, std::string_view to);
// The manifest changed as a value; header features stay.
Bytes WithManifest(const Bytes& bytes, const std::function<void(format::Manifest*)>& change);

// Other raw bytes in a tensor without codec, its digests right.
Bytes WithTensor(const Bytes& bytes, const std::string& name,
                 const std::function<void(std::span<std::byte>)>& change);
// Another stored form of an asset with codec, in place of a larger or equally large one; what follows moves up.
Bytes WithAssetFrame(const Bytes& bytes, std::span<const std::byte> frame, uint64_t raw_bytes);

}  // namespace octavo::testing
