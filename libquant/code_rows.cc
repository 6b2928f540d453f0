#include "libquant/code_rows.h"

#include <algorithm>

#include "octavo/kernels.h"

namespace octavo::quant {
namespace {

constexpr auto kPacked = kernels::WeightLayout::kVnni16x4;
constexpr uint64_t kPackedRows = 16;

}  // namespace

Status ReadStoredRows(const format::Reader& reader, const format::TensorEntry& entry,
                      uint64_t first_row, uint64_t num_rows, std::vector<std::byte>* bytes) {
  bytes->resize(num_rows * entry.shape.row_elements() * DTypeBytes(entry.dtype));
  return reader.ReadRows(entry, first_row, num_rows, *bytes);
}

Status UnpackCodeRows(const format::Reader& reader, const format::TensorEntry& entry,
                      uint64_t out_features, uint64_t in_features, uint64_t first_row,
                      uint64_t num_rows, CodeBuffers* buffers, std::vector<std::byte>* codes) {
  const uint64_t stored = LayoutBytes(kPacked, kPackedRows, in_features) / 4;  // rows of a group
  const uint64_t first_group = first_row / kPackedRows;
  const uint64_t end = first_row + num_rows;
  const uint64_t end_group = (end + kPackedRows - 1) / kPackedRows;
  OCTAVO_RETURN_IF_ERROR(ReadStoredRows(reader, entry, first_group * stored,
                                        (end_group - first_group) * stored, &buffers->read));
  const uint64_t rows = std::min(end_group * kPackedRows, out_features) - first_group * kPackedRows;
  buffers->turned.resize(rows * in_features);
  UnpackCodes(kPacked, reinterpret_cast<const int8_t*>(buffers->read.data()), rows, in_features,
              reinterpret_cast<int8_t*>(buffers->turned.data()));
  const auto first =
      static_cast<std::ptrdiff_t>((first_row - first_group * kPackedRows) * in_features);
  const auto count = static_cast<std::ptrdiff_t>(num_rows * in_features);
  codes->assign(buffers->turned.begin() + first, buffers->turned.begin() + first + count);
  return {};
}

}  // namespace octavo::quant
