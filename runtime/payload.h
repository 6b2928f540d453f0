// One matrix of a stored tensor as plain bytes: where it lies in the mapping if the file keeps it
// plain, else read.
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
  AlignedBuffer owned;  // what `bytes` points into if the tensor is compressed; else empty

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
};

// Which part of a tensor is wanted, and what it must be.
struct PayloadRequest {
  std::string tensor;
  DType dtype = DType::kI8;
  uint64_t elements = 0;  // of the part
  uint64_t part = 0;      // the tensor's rows are cut into `parts` equal parts: the experts
  uint64_t parts = 1;
  bool check_digest = false;  // compressed chunks are always checked
};

// Errors: kInvalidFile (no such tensor, other dtype or size: R30), kNotIntact (R23), kLimit
// (memory), kIo.
Result<Payload> LoadPayload(const format::Reader& reader, const PayloadRequest& request);

}  // namespace octavo
