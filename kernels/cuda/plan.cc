#include "kernels/cuda/plan.h"

#include <algorithm>
#include <iterator>

namespace octavo::cuda {
namespace {

// How long rows may be so that acc fits int32, whatever the codes (docs/numerics.md, section 4).
constexpr int32_t kMaxDepthSymmetric = 132104;
constexpr int32_t kMaxDepthAsymmetric = 65793;
constexpr int32_t kMaxDepthZeropoint = 33025;

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
    {{256, 2}, "wgmma_128x256_2x1", 0.595, 5.1},
    {{256, 1}, "wgmma_128x256", 0.606, 5.1},
    {{128, 1}, "wgmma_128x128", 0.338, 5.7},
    {{64, 1}, "wgmma_128x64", 0.264, 4.5},
};

double Microseconds(const ProductOperands& o, const KnownTile& known, int32_t multiprocessors) {
  const int32_t cluster = known.tile.cluster;
  const int64_t row_groups = (int64_t{o.tokens} - 1) / (128 * cluster) + 1;
  const int64_t col_tiles = (int64_t{o.out_features} - 1) / known.tile.tile_cols + 1;
  const int64_t at_once = std::max(1, multiprocessors / cluster);
  const int64_t rounds = (row_groups * col_tiles - 1) / at_once + 1;
  return static_cast<double>(rounds) * (o.code_stride / 128.0 * known.step + known.once);
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
  } else if (o.tokens <= kMaxFewTokens) {
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
    if (known.tile.tile_cols == plan.tile.tile_cols && known.tile.cluster == plan.tile.cluster)
      return known.name;
  }
  return "wgmma";
}

}  // namespace octavo::cuda
