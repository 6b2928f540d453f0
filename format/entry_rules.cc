// Rules about tensors and assets: R15, R17 to R21, R25, R35, R37.
#include <algorithm>
#include <unordered_set>

#include "format/chunk.h"
#include "format/layout.h"
#include "format/manifest_rules.h"
#include "format/quote.h"

namespace octavo::format {
namespace {

// R17: rows, and elements times element size, are below 2^63; so is one row, which a shape with a
// zero hides.
bool FitsCounts(const TensorEntry& entry) {
  const std::optional<uint64_t> elements = entry.shape.NumElements();
  const std::optional<uint64_t> rows = entry.shape.NumRows();
  const uint64_t element_bytes = DTypeBytes(entry.dtype);
  uint64_t bytes = 0;
  uint64_t row_bytes = 0;
  return elements && rows && *rows <= kMaxCount &&
         !__builtin_mul_overflow(*elements, element_bytes, &bytes) && bytes <= kMaxCount &&
         !__builtin_mul_overflow(entry.shape.row_elements(), element_bytes, &row_bytes) &&
         row_bytes <= kMaxCount;
}

// R18. Requires: R17, R19 hold.
std::string StoredFault(const TensorEntry& entry, const Cut& cut) {
  if (entry.codec == Codec::kNone) {
    if (!entry.stored.empty()) return "\"stored\" without \"codec\"";
    const uint64_t raw = entry.raw_bytes();
    if (entry.bytes == raw) return "";
    return "bytes is " + std::to_string(entry.bytes) + ", the raw size " + std::to_string(raw);
  }
  if (entry.stored.size() != cut.num_chunks) {
    return "\"stored\" has " + std::to_string(entry.stored.size()) + " entries for " +
           std::to_string(cut.num_chunks) + " chunks";
  }
  uint64_t sum = 0;  // does not overflow: each is at most its raw size
  for (uint64_t i = 0; i < cut.num_chunks; ++i) {
    const uint64_t raw = cut.At(i).rows * cut.row_bytes;
    if (entry.stored[i] < 1 || entry.stored[i] > raw) {
      return "chunk " + std::to_string(i) + " of " + std::to_string(raw) + " bytes is stored in " +
             std::to_string(entry.stored[i]);
    }
    sum += entry.stored[i];
  }
  if (entry.bytes == sum) return "";
  return "bytes is " + std::to_string(entry.bytes) + ", the stored chunks have " +
         std::to_string(sum);
}

std::string ChunkSizeFault(const TensorEntry& entry, const Cut& cut) {
  if (cut.num_chunks == 0) return "";
  const ChunkExtent largest = cut.At(0);
  const uint64_t raw = largest.rows * cut.row_bytes;
  if (raw <= kMaxChunkBytes) return "";
  if (largest.rows > 1) return "chunks of " + std::to_string(raw) + " bytes, at most 64 MiB";
  const auto is_smaller = [raw](uint64_t stored) { return stored < raw; };
  if (std::ranges::none_of(entry.stored, is_smaller)) return "";
  return "compressed chunks of " + std::to_string(raw) + " bytes, at most 64 MiB";
}

std::string PlaceFault(const TensorEntry& entry, uint64_t* end) {
  const uint64_t place = RoundUp(*end, PayloadAlignment(entry.raw_bytes()));
  if (entry.offset != place) {
    return "offset is " + std::to_string(entry.offset) + ", its place is " + std::to_string(place);
  }
  *end = place + entry.bytes;
  return *end > kMaxCount - kPageAlignment ? "it ends beyond 2^63" : "";
}

}  // namespace

Status Broken(std::string_view noun, std::string_view name, const std::string& what,
              std::string_view rule) {
  return Status(ErrorCode::kInvalidFile, std::string(noun) + " " + Quote(name) + ": " + what +
                                             " (" + std::string(rule) + ")");
}

bool IsBaseName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

Status CheckName(std::string_view noun, std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return Broken(noun, name,
                  "the name has " + std::to_string(name.size()) + " bytes, not 1 to 1024", "R15");
  }
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::ranges::any_of(name, is_control)) {
    return Broken(noun, name, "the name has a control character", "R15");
  }
  return {};
}

Status CheckShape(const TensorEntry& entry, bool is_asset) {
  const std::string_view noun = is_asset ? "asset" : "tensor";
  const auto broken = [&](const std::string& what, std::string_view rule) {
    return Broken(noun, entry.name, what, rule);
  };
  OCTAVO_RETURN_IF_ERROR(CheckName(noun, entry.name));
  if (is_asset && !IsBaseName(entry.name)) return broken("not a base name", "R25");
  if (is_asset && entry.shape[0] > kMaxAssetBytes) return broken("more than 1 GiB", "R25");
  if (!FitsCounts(entry)) {
    return broken("shape " + entry.shape.ToString() + " needs 2^63 bytes or more", "R17");
  }
  if (entry.chunk_rows == 0) return broken("chunk_rows is 0", "R19");
  const uint64_t rows = *entry.shape.NumRows();
  if (entry.matrix_rows != 0 && rows % entry.matrix_rows != 0) {
    return broken("matrix_rows " + std::to_string(entry.matrix_rows) + " does not divide " +
                      std::to_string(rows) + " rows",
                  "R19");
  }
  return {};
}

Status CheckEntry(const TensorEntry& entry, bool is_asset) {
  OCTAVO_RETURN_IF_ERROR(CheckShape(entry, is_asset));
  const std::string_view noun = is_asset ? "asset" : "tensor";
  const Cut cut(entry);
  if (entry.xxh3.size() != cut.num_chunks) {
    return Broken(noun, entry.name,
                  std::to_string(entry.xxh3.size()) + " digests for " +
                      std::to_string(cut.num_chunks) + " chunks",
                  "R19");
  }
  std::string fault = StoredFault(entry, cut);
  if (!fault.empty()) return Broken(noun, entry.name, fault, "R18");
  fault = ChunkSizeFault(entry, cut);
  if (!fault.empty()) return Broken(noun, entry.name, fault, "R20");
  return {};
}

Status CheckPlaces(const Manifest& manifest, bool is_index, uint64_t manifest_offset) {
  uint64_t end = kHeaderBytes;
  if (!is_index) {
    for (const TensorEntry& tensor : manifest.tensors) {
      const std::string fault = PlaceFault(tensor, &end);
      if (!fault.empty()) return Broken("tensor", tensor.name, fault, "R21");
    }
    for (const TensorEntry& asset : manifest.assets) {
      const std::string fault = PlaceFault(asset, &end);
      if (!fault.empty()) return Broken("asset", asset.name, fault, "R21");
    }
  }
  const uint64_t place = RoundUp(end, kAlignment);
  if (manifest_offset == place) return {};
  return Status(ErrorCode::kInvalidFile, "manifest: it is at " + std::to_string(manifest_offset) +
                                             ", its place is " + std::to_string(place) +
                                             (is_index ? " (R37)" : " (R21)"));
}

Status CheckShards(const Manifest& manifest) {
  if (manifest.shards.size() > kMaxEntries) {
    return Status(ErrorCode::kInvalidFile, "manifest: more than 4,194,304 shards (section 10)");
  }
  std::unordered_set<std::string_view> names;
  for (const ShardEntry& shard : manifest.shards) {
    if (!IsBaseName(shard.name)) return Broken("shard", shard.name, "not a base name", "R35");
    OCTAVO_RETURN_IF_ERROR(CheckName("shard", shard.name));
    if (!names.insert(shard.name).second) {
      return Broken("shard", shard.name, "the name is there twice", "R15");
    }
  }
  for (const std::vector<TensorEntry>* entries : {&manifest.tensors, &manifest.assets}) {
    for (const TensorEntry& entry : *entries) {
      if (entry.shard < manifest.shards.size()) continue;
      return Broken(
          entries == &manifest.tensors ? "tensor" : "asset", entry.name,
          "shard " + std::to_string(entry.shard) + " of " + std::to_string(manifest.shards.size()),
          "R37");
    }
  }
  return {};
}

}  // namespace octavo::format
