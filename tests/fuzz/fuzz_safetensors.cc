// Any bytes as a safetensors file: opened, and read where it opens.
#include "octavo/safetensors.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using octavo::fuzz::Require;
  const octavo::fuzz::MemoryFile bytes(std::as_bytes(std::span(data, size)));
  const auto file = octavo::format::SafetensorsFile::Open(bytes.path());
  if (!file.ok()) {
    Require(!file.status().message().empty());
    return 0;
  }
  for (const octavo::format::SafetensorsEntry& tensor : file->tensors()) {
    Require(tensor.offset <= size && tensor.bytes <= size - tensor.offset);
    const auto raw = file->Read(tensor);
    Require(raw.ok() && raw->size() == tensor.bytes);
  }
  return 0;
}
