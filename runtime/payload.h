// A part of a stored tensor as plain bytes: where it lies in the mapping if the file keeps it plain
// and in one piece, else copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "octavo/reader.h"
#include "octavo/result.h"
#include "runtime/aligned_buffer.h"

namespace octavo {

struct Payload {
  std::span<const std::byte> bytes;
  AlignedBuffer owned;  // what `bytes` points into where it was copied; else empty
  // Of the file: the pages of 4096 bytes that hold it, or the stored bytes of the chunks that do
  // where they are compressed or checked.
  uint64_t read_bytes = 0;

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
};

// `count` elements from `first` on, of each of the rows [first_row, first_row + num_rows).
struct Rectangle {
  uint64_t first_row = 0;
  uint64_t num_rows = 0;
  uint64_t first = 0;
  uint64_t count = 0;
};

// Which part of a tensor is wanted, and what the tensor must be.
struct PayloadRequest {
  std::string tensor;
  DType dtype = DType::kI8;
  uint64_t part = 0;  // the tensor's rows are cut into `parts` equal parts: the experts
  uint64_t parts = 1;
  bool check_digest = false;  // compressed chunks are always checked
  // The part is taken as a matrix [rows][row_elements], whatever the tensor's own shape.
  uint64_t rows = 1;
  uint64_t row_elements = 0;
  Rectangle wanted = {};  // of that matrix. Requires: within it
};

// The wanted rectangle, row after row. Errors: kInvalidFile (no such tensor, other dtype or size:
// R30), kNotIntact (R23), kLimit (memory), kIo.
Result<Payload> LoadPayload(const format::Reader& reader, const PayloadRequest& request);

}  // namespace octavo
