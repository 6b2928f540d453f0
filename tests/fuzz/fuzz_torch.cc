// Any bytes as a file of torch.save, or without the archive around it as its pickle.
#include <string_view>

#include "format/torch_file.h"
#include "format/torch_pickle.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using octavo::fuzz::Require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (!text.starts_with("PK")) {
    const auto tensors = octavo::format::ReadTorchPickle(text);
    Require(tensors.ok() || !tensors.status().message().empty());
    return 0;
  }
  const octavo::fuzz::MemoryFile bytes(std::as_bytes(std::span(data, size)));
  const auto file = octavo::format::TorchFile::Open(bytes.path());
  if (!file.ok()) {
    Require(!file.status().message().empty());
    return 0;
  }
  for (const octavo::format::SafetensorsEntry& tensor : file->tensors()) {
    Require(tensor.bytes <= size);
    std::vector<std::byte> raw(tensor.bytes);
    Require(file->ReadAt(tensor.offset, raw).ok());
  }
  return 0;
}
