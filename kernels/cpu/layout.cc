// Code matrices in the layouts that the products read. Plain loops: packing happens once per
// linear.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

constexpr size_t kOutGroup = 16;  // output features of one group: a vector of int32 accumulators
constexpr size_t kInGroup = 4;    // input features that one dot-product instruction takes
constexpr size_t kInPadding = 64;

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Where code [n][k] stands in vnni16x4: [out/16][in/4][16][4].
size_t Vnni16x4Index(size_t n, size_t k, size_t padded_in) {
  return (n / kOutGroup) * kOutGroup * padded_in + (k / kInGroup) * kOutGroup * kInGroup +
         (n % kOutGroup) * kInGroup + k % kInGroup;
}

}  // namespace

size_t LayoutBytes(WeightLayout layout, size_t out_features, size_t in_features) {
  if (layout == WeightLayout::kPlain) return out_features * in_features;
  return RoundUp(out_features, kOutGroup) * RoundUp(in_features, kInPadding);
}

void PackCodes(WeightLayout layout, const int8_t* plain, size_t out_features, size_t in_features,
               int8_t* packed) {
  const size_t bytes = LayoutBytes(layout, out_features, in_features);
  if (bytes == 0) return;
  if (layout == WeightLayout::kPlain) {
    std::memcpy(packed, plain, bytes);
    return;
  }
  std::memset(packed, 0, bytes);
  const size_t padded_in = RoundUp(in_features, kInPadding);
  for (size_t n = 0; n < out_features; ++n) {
    for (size_t k = 0; k < in_features; k += kInGroup) {
      std::memcpy(packed + Vnni16x4Index(n, k, padded_in), plain + n * in_features + k,
                  std::min(kInGroup, in_features - k));
    }
  }
}

void UnpackCodes(WeightLayout layout, const int8_t* packed, size_t out_features, size_t in_features,
                 int8_t* plain) {
  if (out_features == 0 || in_features == 0) return;
  if (layout == WeightLayout::kPlain) {
    std::memcpy(plain, packed, out_features * in_features);
    return;
  }
  const size_t padded_in = RoundUp(in_features, kInPadding);
  for (size_t n = 0; n < out_features; ++n) {
    for (size_t k = 0; k < in_features; k += kInGroup) {
      std::memcpy(plain + n * in_features + k, packed + Vnni16x4Index(n, k, padded_in),
                  std::min(kInGroup, in_features - k));
    }
  }
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
