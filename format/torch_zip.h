// Where the entries of a torch.save archive lie in its file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/file.h"
#include "octavo/result.h"

namespace octavo::format {

struct ZipEntry {
  std::string name;
  uint64_t offset = 0;  // of its content
  uint64_t bytes = 0;
  uint32_t crc32 = 0;  // 0: none; torch.save can be told to leave it out
};

// The central directory, with every local header checked against it. torch.save stores its entries
// as they are and reads them back by their offsets, so that is all there is to read here; a zip library
// would bring decompression that must be refused, and gives no offsets.
// Checks: nothing compressed or encrypted, sizes and ranges within the file and apart from each
// other, the same name in both headers, names unique and without a way out of a folder. Errors: kIo,
// kInvalidFile, naming the entry but not the file.
Result<std::vector<ZipEntry>> ReadZipDirectory(const InputFile& file);

}  // namespace octavo::format
