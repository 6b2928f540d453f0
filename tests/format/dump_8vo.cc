// dump_8vo FILE: one line for each tensor (name, dtype, shape, XXH3-64 of its raw bytes, separated
// by tabs), then one for each asset (name, "-", "-", digest). The independent reader prints the
// same.
#include <xxhash.h>

#include <cinttypes>
#include <cstdio>

#include "octavo/reader.h"

namespace {

int Fail(const octavo::Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 3;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto reader = octavo::format::Reader::Open(argv[1], {.verify = true});
  if (!reader.ok()) return Fail(reader.status());
  const octavo::format::Manifest& manifest = reader->manifest();
  for (const auto* entries : {&manifest.tensors, &manifest.assets}) {
    const bool is_asset = entries == &manifest.assets;
    for (const octavo::format::TensorEntry& entry : *entries) {
      const auto raw = reader->ReadAll(entry);
      if (!raw.ok()) return Fail(raw.status());
      std::printf("%s\t%s\t%s\t%016" PRIx64 "\n", entry.name.c_str(),
                  is_asset ? "-" : std::string(octavo::DTypeName(entry.dtype)).c_str(),
                  is_asset ? "-" : entry.shape.ToString().c_str(),
                  static_cast<uint64_t>(XXH3_64bits(raw->data(), raw->size())));
    }
  }
  return 0;
}
