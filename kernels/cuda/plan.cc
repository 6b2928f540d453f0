#include "kernels/cuda/plan.h"

#include <algorithm>
#include <iterator>

namespace octavo::cuda {
namespace {

// How long rows may be so that acc fits int32, whatever the codes (docs/numerics.md, section 4).
constexpr int32_t kMaxDepthSymmetric = 132104;
constexpr int32_t kMaxDepthAsymmetric = 65793;
constexpr int32_t kMaxDepthZeropoint = 33025;

// Above it tiles are faster than the kernel for few tokens, where there is wgmma and X has 16 bits,
// unless weights are so small that each block takes two of its narrow tiles.
constexpr int32_t kMaxFewBesideWgmma = 8;
constexpr int32_t kShortRows = 8192;

int32_t MaxFewTokens(const DeviceTraits& device, const ProductOperands& o) {
  const bool small = o.out_features <= 2 * kFewTokensTileCols * device.multiprocessors &&
                     o.code_stride <= kShortRows;
  const bool tiles = device.has_wgmma && o.x_type != ElementType::kFloat32 && !small;
  return tiles ? kMaxFewBesideWgmma : kMaxFewTokens;
}

bool IsDeep(const ProductOperands& o) {
  if (o.w_zero_point != nullptr) return o.in_features > kMaxDepthZeropoint;
  return o.in_features > (o.symmetric ? kMaxDepthSymmetric : kMaxDepthAsymmetric);
}

// What a tile costs in microseconds, measured on an H200 (tests/bench/cuda_kernels.cc): a step of
// 128 bytes along k, and what comes once for each tile. Two blocks that share weights are a little
// faster than two that do not, where both have rows.
struct KnownTile {
  WgmmaTile tile;
  const char* name;
  double step;
  double once;
};
constexpr KnownTile kTiles[] = {
    {{256, 2, 1}, "wgmma_128x256_2x1", 0.575, 5.5}, {{256, 1, 1}, "wgmma_128x256", 0.584, 5.5},
    {{224, 1, 1}, "wgmma_128x224", 0.520, 5.2},     {{192, 1, 1}, "wgmma_128x192", 0.455, 4.8},
    {{160, 1, 1}, "wgmma_128x160", 0.385, 4.7},     {{128, 1, 1}, "wgmma_128x128", 0.320, 5.0},
    {{96, 1, 1}, "wgmma_128x96", 0.250, 4.2},       {{64, 1, 1}, "wgmma_128x64", 0.235, 4.1},
    {{128, 1, 2}, "wgmma_128x128_k2", 0.385, 6.8},  {{64, 1, 2}, "wgmma_128x64_k2", 0.250, 5.8},
};

double Microseconds(const ProductOperands& o, const KnownTile& known, int32_t multiprocessors) {
  const WgmmaTile& tile = known.tile;
  const int64_t row_groups = (int64_t{o.tokens} - 1) / (128 * tile.cluster) + 1;
  const int64_t col_tiles = (int64_t{o.out_features} - 1) / tile.tile_cols + 1;
  const int64_t at_once = std::max(1, multiprocessors / (tile.cluster * tile.splits));
  const int64_t rounds = (row_groups * col_tiles - 1) / at_once + 1;
  const int64_t steps = (o.code_stride / 128 - 1) / tile.splits + 1;
  return static_cast<double>(rounds) * (static_cast<double>(steps) * known.step + known.once);
}

const KnownTile& BestTile(const ProductOperands& o, int32_t multiprocessors) {
  return *std::min_element(
      std::begin(kTiles), std::end(kTiles), [&](const KnownTile& a, const KnownTile& b) {
        return Microseconds(o, a, multiprocessors) < Microseconds(o, b, multiprocessors);
      });
}

}  // namespace

ProductPlan PlanProduct(const DeviceTraits& device, const ProductOperands& o) {
  ProductPlan plan;
  if (IsDeep(o)) {
    plan.kernel = ProductKernel::kDeepRows;
  } else if (o.tokens <= MaxFewTokens(device, o)) {
    plan.kernel = ProductKernel::kFewTokens;
  } else if (device.has_wgmma && o.in_features > 0) {  // TMA has no empty matrices
    plan.kernel = ProductKernel::kWgmma;
    plan.tile = BestTile(o, device.multiprocessors).tile;
  }
  return plan;
}

const char* ProductPlanName(const ProductPlan& plan) {
  switch (plan.kernel) {
    case ProductKernel::kFewTokens:
      return "few_tokens";
    case ProductKernel::kMma:
      return "mma_128x128";
    case ProductKernel::kDeepRows:
      return "deep_rows";
    case ProductKernel::kWgmma:
      break;
  }
  for (const KnownTile& known : kTiles) {
    if (known.tile == plan.tile) return known.name;
  }
  return "wgmma";
}

}  // namespace octavo::cuda
