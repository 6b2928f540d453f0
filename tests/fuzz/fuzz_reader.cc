// Any bytes as a .8vo file: opened, verified, read. Once as they are, and once with file_bytes and
// the digests of header, manifest and chunks put right, so that mutations get past them.
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "format/layout.h"
#include "octavo/reader.h"
#include "tests/fuzz/memory_file.h"

namespace octavo::fuzz {
namespace {

namespace offset = format::offset;
using Bytes = std::vector<std::byte>;

constexpr uint64_t kMaxRead = 1u << 20;

void Read(const format::Reader& reader) {
  const format::Manifest& manifest = reader.manifest();
  for (const auto* entries : {&manifest.tensors, &manifest.assets}) {
    for (const format::TensorEntry& entry : *entries) {
      if (entry.raw_bytes() > kMaxRead) continue;
      const auto raw = reader.ReadAll(entry);
      Require(!raw.ok() || raw->size() == entry.raw_bytes());
      if (entry.codec == format::Codec::kNone) Require(reader.Bytes(entry).size() == entry.bytes);
    }
  }
  for (const format::Module& module : manifest.modules)
    Require(reader.FindModule(module.name) == &module);
}

void Check(const Bytes& bytes) {
  const MemoryFile file(bytes);
  const auto reader = format::Reader::Open(file.path());
  const auto findings = format::Reader::Verify(file.path(), {.num_threads = 1});
  Require(findings.ok());
  if (!reader.ok()) {
    Require(!reader.status().message().empty());
    Require(!findings->empty());
    return;
  }
  Read(*reader);
}

void StoreDigest(Bytes* bytes, size_t at, const std::byte* data, size_t size) {
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits(data, size));
  std::memcpy(bytes->data() + at, digest.digest, sizeof(digest.digest));
}

uint64_t Load(const Bytes& bytes, size_t at) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, 8);  // little-endian hosts only, as all of these are
  return value;
}

void Repair(Bytes* bytes) {
  if (bytes->size() < format::kHeaderBytes + 2) return;
  const uint64_t size = bytes->size();
  std::memcpy(bytes->data() + offset::kFileBytes, &size, 8);
  const uint64_t begin = std::clamp<uint64_t>(Load(*bytes, offset::kManifestOffset) / 64 * 64, 128,
                                              (size - 2) / 64 * 64);
  const uint64_t manifest_bytes = size - begin;
  std::memcpy(bytes->data() + offset::kManifestOffset, &begin, 8);
  std::memcpy(bytes->data() + offset::kManifestBytes, &manifest_bytes, 8);
  StoreDigest(bytes, offset::kManifestXxh3, bytes->data() + begin, manifest_bytes);
  StoreDigest(bytes, offset::kCommit, bytes->data(), offset::kCommit);
}

// Chunk digests right, where the manifest parses.
void RepairChunks(Bytes* bytes) {
  const uint64_t begin = Load(*bytes, offset::kManifestOffset);
  const std::string_view text(reinterpret_cast<const char*>(bytes->data() + begin),
                              bytes->size() - begin);
  auto manifest = format::ParseManifest(text, false);
  if (!manifest.ok()) return;
  for (auto* entries : {&manifest->tensors, &manifest->assets}) {
    for (format::TensorEntry& entry : *entries) {
      uint64_t at = entry.offset;
      for (size_t i = 0; i < entry.stored.size() && at < begin && entry.stored[i] <= begin - at;
           ++i) {
        entry.xxh3[i] = XXH3_64bits(bytes->data() + at, entry.stored[i]);
        at += entry.stored[i];
      }
    }
  }
  const std::string fixed = format::SerializeManifest(*manifest);
  const auto raw = std::as_bytes(std::span(fixed));
  bytes->resize(begin);
  bytes->insert(bytes->end(), raw.begin(), raw.end());
  Repair(bytes);
}

}  // namespace
}  // namespace octavo::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto raw = std::as_bytes(std::span(data, size));
  octavo::fuzz::Bytes bytes(raw.begin(), raw.end());
  octavo::fuzz::Check(bytes);
  if (bytes.size() < octavo::format::kHeaderBytes + 64) return 0;
  octavo::fuzz::Repair(&bytes);
  octavo::fuzz::Check(bytes);
  octavo::fuzz::RepairChunks(&bytes);
  octavo::fuzz::Check(bytes);
  return 0;
}
