// The running XXH3-128 of every source file, and SHA-256 where asked, fed with what the pipeline
// reads anyway.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "octavo/byte_stream.h"
#include "octavo/checkpoint.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::quant {

// Covers every byte once, in file order: bytes that come in order are hashed as they are; what is
// missing in between (headers, gaps, transposed tensors, tensors that were taken out of order) is
// read, 1 MiB at a time. Single thread.
class SourceDigest {
 public:
  // `source` must outlive this. `hashed`: for each of its files whether it is; empty: all are.
  // with_sha256: SHA-256 besides XXH3.
  explicit SourceDigest(const format::Checkpoint* source, std::vector<bool> hashed = {},
                        bool with_sha256 = false);
  ~SourceDigest();

  // Bytes [offset, offset + bytes.size()) of a file have been read. Errors: kIo.
  Status Add(uint32_t file, uint64_t offset, std::span<const std::byte> bytes);
  // Up to where a file was hashed: nothing before is read again.
  uint64_t done(uint32_t file) const;
  // What was hashed since the last Put, for a save point; Get takes such states one after the
  // other.
  void Put(format::ByteWriter* out);
  void Get(format::ByteReader* in);
  // Hashes what is left of the files. Errors: kIo.
  Result<std::vector<format::SourceFile>> Finish();

 private:
  struct FileState;
  void Hash(FileState* state, std::span<const std::byte> bytes) const;
  Status CatchUp(uint32_t file, uint64_t offset);

  const format::Checkpoint* source_;
  std::vector<bool> hashed_;
  const bool with_sha256_;
  std::vector<std::unique_ptr<FileState>> files_;
  std::vector<std::byte> buffer_;
};

}  // namespace octavo::quant
