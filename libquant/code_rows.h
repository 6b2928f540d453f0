// Codes of a stored linear, row by row, whatever layout the file keeps them in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "octavo/reader.h"
#include "octavo/result.h"

namespace octavo::quant {

// Memory of one worker, reused from call to call.
struct CodeBuffers {
  std::vector<std::byte> read;
  std::vector<std::byte> turned;
};

// Rows of a tensor as they are stored, checked.
Status ReadStoredRows(const format::Reader& reader, const format::TensorEntry& entry,
                      uint64_t first_row, uint64_t num_rows, std::vector<std::byte>* bytes);

// Packed codes of output features [first_row, first_row + num_rows): the groups of 16 that hold
// them are read, turned around, and of these the rows taken. *codes: [num_rows][in_features].
Status UnpackCodeRows(const format::Reader& reader, const format::TensorEntry& entry,
                      uint64_t out_features, uint64_t in_features, uint64_t first_row,
                      uint64_t num_rows, CodeBuffers* buffers, std::vector<std::byte>* codes);

}  // namespace octavo::quant
