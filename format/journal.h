// A file of records that only grows. After a crash it ends with the last record that was completely
// written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/file.h"
#include "octavo/result.h"

namespace octavo::format {

struct JournalRecord {
  uint32_t kind = 0;  // the caller's
  std::vector<std::byte> content;
};

// "octavo journal 1\n", then records: kind, 0, length of the content (4, 4 and 8 bytes, this
// machine's order), content, XXH3-64 of all that. Move-only, single thread.
class Journal {
 public:
  // An empty one; replaces what is there. Errors: kNotFound, kIo.
  static Result<Journal> Create(const std::string& path);
  // Goes on after the whole records that are there, which are returned too; what follows them is
  // cut off. Errors: kNotFound, kIo, kInvalidFile (no journal).
  static Result<Journal> Open(const std::string& path, std::vector<JournalRecord>* records);
  // The whole records of a journal. Errors: as Open.
  static Result<std::vector<JournalRecord>> Read(const std::string& path);

  // The record is on disk when this returns. Errors: kIo.
  Status Append(uint32_t kind, std::span<const std::byte> content);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  UniqueFd fd_;
  uint64_t end_ = 0;
};

}  // namespace octavo::format
