// The 128 bytes at the start of a .8vo file: bytes to values and back, no I/O (docs/format.md, section 3).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/digest.h"
#include "format/layout.h"
#include "octavo/reader.h"
#include "octavo/result.h"

namespace octavo::format {

struct Header {
  FileHeader values;
  Digest128 manifest_xxh3{};
};

// Rules R1 to R7 and R9 over the first bytes of a file of `file_bytes` bytes; `bytes` may be shorter than a header only
// if the file is. Errors: kInvalidFile, kNewerFormat (R2, R4), kNotIntact (R3).
Result<Header> DecodeHeader(std::span<const std::byte> bytes, uint64_t file_bytes);

// With the commit field.
std::array<std::byte, kHeaderBytes> EncodeHeader(const Header& header);

}  // namespace octavo::format
