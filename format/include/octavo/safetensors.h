// safetensors files: strict reading by the published rules, and deterministic writing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "octavo/dtype.h"
#include "octavo/result.h"
#include "octavo/shape.h"

namespace octavo::format {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t offset = 0;  // from the start of the file
  uint64_t bytes = 0;
};

// An opened file: its header is parsed and checked, tensors are read on demand by positioned reads.
// Const and thread-safe after Open.
class SafetensorsFile {
 public:
  // Checks: header length (at most 100,000,000 and the file's size) before anything is allocated, JSON with unique
  // keys, known dtypes, shape times element size = stored range without overflow, ranges that cover the data exactly
  // (no overlap, hole or trailing byte). Errors: kNotFound, kIo, kInvalidFile (naming file, tensor and what is wrong; a
  // git-LFS pointer is recognized and said so).
  static Result<SafetensorsFile> Open(const std::string& path);
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  const std::string& path() const;
  uint64_t file_bytes() const;
  // In order of their offsets.
  const std::vector<SafetensorsEntry>& tensors() const;
  const SafetensorsEntry* Find(std::string_view name) const;
  // "__metadata__", string to string.
  const std::map<std::string, std::string>& metadata() const;

  // Any bytes of the file, the header included. Errors: kIo (also: the file shrank).
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const;
  // As Checkpoint has them.
  void Stream(bool drops_read) const;
  void Release(uint64_t offset) const;
  Result<std::vector<std::byte>> Read(const SafetensorsEntry& entry) const;
  // kIo if size or modification time changed since Open.
  Status CheckUnchanged() const;

 private:
  struct State;
  explicit SafetensorsFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A tensor to write, before its data.
struct SafetensorsSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

// Writes a file whose tensors come piece by piece, in any order, from any thread: header first, data where it belongs.
// What is never written reads as zeros. Destroying a writer that was not finished leaves nothing behind.
class SafetensorsWriter {
 public:
  // The data follow each other in the order given, without gaps: those of larger elements first are aligned. Errors:
  // kAlreadyExists without `overwrite`, kNotFound (no such folder), kIo, kInvalidArgument (names that are not allowed, equal names).
  static Result<SafetensorsWriter> Create(const std::string& path, std::span<const SafetensorsSpec> tensors,
                                          const std::map<std::string, std::string>& metadata, bool overwrite);
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();

  // Bytes [offset, offset + bytes.size()) of a tensor. Requires: within it. Thread-safe. Errors: kIo.
  Status WriteAt(size_t tensor_idx, uint64_t offset, std::span<const std::byte> bytes) const;
  uint64_t file_bytes() const;
  // On disk and under its name. Errors: kAlreadyExists, kIo.
  Status Finish();

 private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct SafetensorsTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> data;
};

// Writes tensors in the order given (data 8-byte aligned, header padded with spaces), by temporary and rename.
// Errors: kAlreadyExists without `overwrite`, kIo, kInvalidArgument (sizes that do not agree, equal names).
Status WriteSafetensors(const std::string& path, std::span<const SafetensorsTensor> tensors,
                        const std::map<std::string, std::string>& metadata, bool overwrite);

}  // namespace octavo::format
