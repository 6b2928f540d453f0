#include "runtime/slice_codes.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace octavo {
namespace {

// vnni16x4 as a matrix: a row is a group of 16 output features, [in/4][16][4], and 64 input
// features of it are 1024 bytes (docs/format.md).
constexpr uint64_t kGroupOut = 16;
constexpr uint64_t kGroupIn = 64;

uint64_t CeilDiv(uint64_t a, uint64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

// The groups that hold the features.
FeatureRange Groups(const FeatureRange& features, uint64_t group) {
  return {features.begin / group, CeilDiv(features.end, group)};
}

bool IsWhole(const FeatureRange& features, uint64_t all, uint64_t group) {
  return features.begin % group == 0 && (features.end % group == 0 || features.end == all);
}

// Plain codes of a rectangle within [rows][row_codes], moved to the front of the buffer.
void CutInPlace(int8_t* codes, uint64_t row_codes, const Rectangle& wanted) {
  for (uint64_t row = 0; row < wanted.num_rows; ++row)
    std::memmove(codes + row * wanted.count,
                 codes + (wanted.first_row + row) * row_codes + wanted.first, wanted.count);
}

}  // namespace

Result<Payload> LoadCodeSlice(const format::Reader& reader, PayloadRequest request,
                              const CodeSlice& slice, kernels::WeightLayout* layout) {
  const FeatureRange &out = slice.out, &in = slice.in;
  if (*layout == kernels::WeightLayout::kPlain) {
    request.rows = slice.out_features;
    request.row_elements = slice.in_features;
    request.wanted = {out.begin, out.count(), in.begin, in.count()};
    return LoadPayload(reader, request);
  }
  const FeatureRange rows = Groups(out, kGroupOut), columns = Groups(in, kGroupIn);
  constexpr uint64_t kGroupBytes = kGroupOut * kGroupIn;
  request.rows = CeilDiv(slice.out_features, kGroupOut);
  request.row_elements = CeilDiv(slice.in_features, kGroupIn) * kGroupBytes;
  request.wanted = {rows.begin, rows.count(), columns.begin * kGroupBytes,
                    columns.count() * kGroupBytes};
  OCTAVO_ASSIGN_OR_RETURN(Payload packed, LoadPayload(reader, request));
  const bool is_whole =
      IsWhole(out, slice.out_features, kGroupOut) && IsWhole(in, slice.in_features, kGroupIn);
  if (is_whole || packed.bytes.empty()) return packed;

  const uint64_t held_out = rows.count() * kGroupOut, held_in = columns.count() * kGroupIn;
  OCTAVO_ASSIGN_OR_RETURN(AlignedBuffer plain, AlignedBuffer::Allocate(held_out * held_in));
  kernels::UnpackCodes(*layout, packed.as<int8_t>(), held_out, held_in, plain.as<int8_t>());
  CutInPlace(plain.as<int8_t>(), held_in,
             {out.begin - rows.begin * kGroupOut, out.count(), in.begin - columns.begin * kGroupIn,
              in.count()});
  *layout = kernels::WeightLayout::kPlain;
  return Payload{plain.span().first(out.count() * in.count()), std::move(plain), packed.read_bytes};
}

}  // namespace octavo
