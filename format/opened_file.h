// One .8vo file, mapped, with its header and manifest checked; and what an index and its shards must agree on.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/file.h"
#include "format/header.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::format {

struct OpenedFile {
  std::string path;
  MappedFile mapping;
  Header header;
  Manifest manifest;

  std::span<const std::byte> bytes() const { return mapping.bytes(); }
  std::string_view manifest_text() const;
  std::string name() const;  // base name
  bool is_index() const { return (header.values.required_features & kFeatureIndex) != 0; }
};

// Checks header and manifest of file->mapping into *file: R1 to R21, R25, R30 to R35, R37. On error *subject says
// which of the two it was.
Status Examine(OpenedFile* file, std::string* subject);

// Maps and examines. Errors name the path.
Result<OpenedFile> OpenFile(const std::string& path);

// Where the shard of an index is.
std::string ShardPath(const OpenedFile& index, size_t shard_idx);
// R36 for one shard, apart from its content. Requires: shard was examined.
Status CheckShard(const OpenedFile& index, size_t shard_idx, const OpenedFile& shard);
// R36: tensors, assets and modules of all shards together.
Status CheckShardContent(const OpenedFile& index, const std::vector<OpenedFile>& shards);

}  // namespace octavo::format
