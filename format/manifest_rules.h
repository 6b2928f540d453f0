// The rules of docs/format.md about a manifest's values, apart from how they are written down in JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::format {

// `tensor "h.0.w": what (R17)`, as kInvalidFile.
Status Broken(std::string_view noun, std::string_view name, const std::string& what,
              std::string_view rule);

// R25, R35: no path in it.
bool IsBaseName(std::string_view name);

// R15 (characters and length). `noun`: "tensor", "module", "asset".
Status CheckName(std::string_view noun, std::string_view name);
// What is known before there are chunks: R15, R17, chunk_rows and matrix_rows of R19; for assets R25.
Status CheckShape(const TensorEntry& entry, bool is_asset);
// That, and R18 to R20.
Status CheckEntry(const TensorEntry& entry, bool is_asset);
// R15 (twice the same name), R30, R32 to R34, limits; over a whole manifest.
Status CheckModules(const Manifest& manifest);
// R9, R35 and the numbers of R37; in an index.
Status CheckShards(const Manifest& manifest);

// R21 and R37: where payloads and manifest stand in a file of which these are the entries.
Status CheckPlaces(const Manifest& manifest, bool is_index, uint64_t manifest_offset);

}  // namespace octavo::format
