// Any bytes as a compressed chunk. The first two say how large it claims to be raw.
#include <vector>

#include "format/chunk.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint64_t raw_bytes = data[0] | uint64_t{data[1]} << 8;
  const auto frame = std::as_bytes(std::span(data + 2, size - 2));
  std::vector<std::byte> raw;
  const octavo::Status status = octavo::format::Decompress(frame, raw_bytes, &raw);
  octavo::fuzz::Require(!status.ok() || raw.size() == raw_bytes);
  return 0;
}
