#include "tests/golden/surgery.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "format/digest.h"
#include "format/layout.h"

namespace octavo::testing {
namespace {

// A mistake of the test itself.
void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

Bytes Load(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void Save(const std::string& path, std::span<const std::byte> bytes) {
  std::remove(path.c_str());  // some file systems flush a file that is rewritten in place
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  Require(out.good());
}

uint64_t LoadInteger(std::span<const std::byte> bytes, size_t at, size_t width) {
  uint64_t value = 0;
  for (size_t i = width; i-- > 0;) value = value << 8 | std::to_integer<uint64_t>(bytes[at + i]);
  return value;
}

void StoreInteger(Bytes* bytes, size_t at, size_t width, uint64_t value) {
  for (size_t i = 0; i < width; ++i) (*bytes)[at + i] = static_cast<std::byte>(value >> (8 * i));
}

void Recommit(Bytes* bytes) {
  const auto digest = format::Xxh3Wide(std::span(*bytes).first(format::offset::kCommit));
  std::memcpy(bytes->data() + format::offset::kCommit, digest.data(), digest.size());
}

Bytes WithHeaderField(Bytes bytes, size_t at, size_t width, uint64_t value) {
  StoreInteger(&bytes, at, width, value);
  Recommit(&bytes);
  return bytes;
}

std::string ManifestText(std::span<const std::byte> bytes) {
  const size_t begin = LoadInteger(bytes, format::offset::kManifestOffset, 8);
  const auto text = bytes.subspan(begin);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

Bytes WithManifestText(const Bytes& bytes, std::string_view text) {
  Bytes out = bytes;
  out.resize(LoadInteger(bytes, format::offset::kManifestOffset, 8));
  const auto added = std::as_bytes(std::span(text));
  out.insert(out.end(), added.begin(), added.end());
  StoreInteger(&out, format::offset::kFileBytes, 8, out.size());
  StoreInteger(&out, format::offset::kManifestBytes, 8, text.size());
  const auto digest = format::Xxh3Wide(added);
  std::memcpy(out.data() + format::offset::kManifestXxh3, digest.data(), digest.size());
  Recommit(&out);
  return out;
}

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  Require(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

Bytes WithReplaced(const Bytes& bytes, std::string_view from, std::string_view to) {
  return WithManifestText(bytes, Replaced(ManifestText(bytes), from, to));
}

Bytes WithManifest(const Bytes& bytes, const std::function<void(format::Manifest*)>& change) {
  const bool is_index =
      (LoadInteger(bytes, format::offset::kRequiredFeatures, 8) & format::kFeatureIndex) != 0;
  auto manifest = format::ParseManifest(ManifestText(bytes), is_index);
  Require(manifest.ok());
  change(&*manifest);
  return WithManifestText(bytes, format::SerializeManifest(*manifest));
}

Bytes WithTensor(const Bytes& bytes, const std::string& name,
                 const std::function<void(std::span<std::byte>)>& change) {
  auto manifest = format::ParseManifest(ManifestText(bytes), false);
  Require(manifest.ok());
  Bytes out = bytes;
  for (format::TensorEntry& entry : manifest->tensors) {
    if (entry.name != name) continue;
    Require(entry.codec == format::Codec::kNone);
    const auto payload = std::span(out).subspan(entry.offset, entry.bytes);
    change(payload);
    const uint64_t row_bytes = entry.shape.row_elements() * DTypeBytes(entry.dtype);
    for (uint64_t i = 0; i < entry.xxh3.size(); ++i) {
      const format::ChunkExtent extent = format::ChunkAt(entry, i);
      entry.xxh3[i] =
          format::Xxh3(payload.subspan(extent.first_row * row_bytes, extent.rows * row_bytes));
    }
  }
  return WithManifestText(out, format::SerializeManifest(*manifest));
}

Bytes WithAssetFrame(const Bytes& bytes, std::span<const std::byte> frame, uint64_t raw_bytes) {
  auto manifest = format::ParseManifest(ManifestText(bytes), false);
  Require(manifest.ok() && !manifest->assets.empty());
  format::TensorEntry& asset = manifest->assets.back();
  Bytes out = bytes;
  asset.offset = format::RoundUp(asset.offset, format::PayloadAlignment(raw_bytes));
  out.resize(asset.offset);
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(manifest->tensors.back().offset +
                                                      manifest->tensors.back().bytes),
            out.end(), std::byte{0});
  out.insert(out.end(), frame.begin(), frame.end());
  out.resize(format::RoundUp(out.size(), format::kAlignment));
  asset.bytes = frame.size();
  asset.stored = {frame.size()};
  asset.xxh3 = {format::Xxh3(frame)};
  asset.shape = Shape{raw_bytes};
  StoreInteger(&out, format::offset::kManifestOffset, 8, out.size());
  return WithManifestText(out, format::SerializeManifest(*manifest));
}

}  // namespace octavo::testing
