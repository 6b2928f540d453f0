// Code matrices in the layouts that the products read. Packing happens once per linear, but to all
// of a model while somebody waits for it to load.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/cpu/parallel.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

constexpr size_t kOutGroup = 16;  // output features of one group: a vector of int32 accumulators
constexpr size_t kInGroup = 4;    // input features that one dot-product instruction takes
constexpr size_t kInPadding = 64;

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// A tile of vnni16x4, [out/16][in/4][16][4], is a group of output features by 64 input features:
// 1 KiB that stays in the fastest cache, so that plain rows are gone through a line at a time.
constexpr size_t kTileBytes = kOutGroup * kInPadding;

// Calls copy(plain, packed, bytes) for each of the tile's runs of up to kInGroup codes. Plain rows
// are `stride` codes apart; `rows` and `width` are what there is of them.
template <class Plain, class Packed, class Copy>
void ForRuns(Plain* plain, size_t stride, size_t rows, size_t width, Packed* packed, Copy&& copy) {
  for (size_t n = 0; n < rows; ++n) {
    Plain* row = plain + n * stride;
    Packed* to = packed + n * kInGroup;
    if (width == kInPadding) {  // sizes that the compiler knows
      for (size_t k = 0; k < kInPadding; k += kInGroup) copy(row + k, to + k * kOutGroup, kInGroup);
    } else {
      for (size_t k = 0; k < width; k += kInGroup)
        copy(row + k, to + k * kOutGroup, std::min(kInGroup, width - k));
    }
  }
}

// Calls body(plain index of the first code, rows, width, packed index) for each tile of a matrix.
template <class Body>
void ForTiles(size_t out_features, size_t in_features, Body&& body) {
  size_t packed = 0;
  for (size_t n = 0; n < out_features; n += kOutGroup) {
    for (size_t k = 0; k < in_features; k += kInPadding, packed += kTileBytes) {
      body(n * in_features + k, std::min(kOutGroup, out_features - n),
           std::min(kInPadding, in_features - k), packed);
    }
  }
}

void PackRows(WeightLayout layout, const int8_t* plain, size_t rows, size_t in_features,
              int8_t* packed) {
  if (layout == WeightLayout::kPlain) {
    std::memcpy(packed, plain, rows * in_features);
    return;
  }
  ForTiles(rows, in_features, [&](size_t from, size_t tile_rows, size_t width, size_t to) {
    if (tile_rows < kOutGroup || width < kInPadding) std::memset(packed + to, 0, kTileBytes);
    ForRuns(plain + from, in_features, tile_rows, width, packed + to,
            [](const int8_t* run, int8_t* place, size_t n) { std::memcpy(place, run, n); });
  });
}

}  // namespace

size_t LayoutBytes(WeightLayout layout, size_t out_features, size_t in_features) {
  if (layout == WeightLayout::kPlain) return out_features * in_features;
  return RoundUp(out_features, kOutGroup) * RoundUp(in_features, kInPadding);
}

void PackCodes(WeightLayout layout, const int8_t* plain, size_t out_features, size_t in_features,
               int8_t* packed, const ParallelFor& parallel) {
  if (out_features == 0 || in_features == 0) return;
  // A large page of memory that is new, which costs more than the packing, goes to one thread.
  constexpr size_t kTaskBytes = size_t{2} << 20;
  const size_t group_bytes = LayoutBytes(layout, kOutGroup, in_features);
  const size_t task_rows = kOutGroup * std::max<size_t>(1, kTaskBytes / group_bytes);
  RunParallel(parallel, (out_features + task_rows - 1) / task_rows, [&](size_t task) {
    const size_t begin = task * task_rows, rows = std::min(task_rows, out_features - begin);
    PackRows(layout, plain + begin * in_features, rows, in_features,
             packed + begin / kOutGroup * group_bytes);
  });
}

void UnpackCodes(WeightLayout layout, const int8_t* packed, size_t out_features, size_t in_features,
                 int8_t* plain) {
  if (out_features == 0 || in_features == 0) return;
  if (layout == WeightLayout::kPlain) {
    std::memcpy(plain, packed, out_features * in_features);
    return;
  }
  ForTiles(out_features, in_features, [&](size_t to, size_t rows, size_t width, size_t from) {
    ForRuns(plain + to, in_features, rows, width, packed + from,
            [](int8_t* place, const int8_t* run, size_t n) { std::memcpy(place, run, n); });
  });
}

void SumCodes(WeightLayout layout, const int8_t* codes, size_t out_features, size_t in_features,
              int32_t* sums) {
  if (layout == WeightLayout::kPlain) {
    for (size_t n = 0; n < out_features; ++n, codes += in_features)
      sums[n] = std::accumulate(codes, codes + in_features, int32_t{0});
    return;
  }
  const size_t group_bytes = kOutGroup * RoundUp(in_features, kInPadding);
  for (size_t n = 0; n < out_features; n += kOutGroup, codes += group_bytes) {
    int32_t group[kOutGroup] = {};
    for (size_t i = 0; i < group_bytes; ++i) group[i / kInGroup % kOutGroup] += codes[i];
    std::copy_n(group, std::min(kOutGroup, out_features - n), sums + n);
  }
}

}  // namespace octavo::kernels
