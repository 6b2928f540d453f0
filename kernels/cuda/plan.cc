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

struct NamedTile {
  WgmmaTile tile;
  const char* name;
};
constexpr NamedTile kTiles[] = {
    {{256, 2, 1}, "wgmma_128x256_2x1"}, {{256, 1, 1}, "wgmma_128x256"},
    {{128, 2, 1}, "wgmma_128x128_2x1"}, {{128, 1, 2}, "wgmma_128x128_1x2"},
    {{64, 1, 4}, "wgmma_128x64_1x4"},   {{64, 2, 2}, "wgmma_128x64_2x2"},
};

int64_t Blocks(const ProductOperands& o, const WgmmaTile& tile) {
  const auto groups = [](int32_t size, int32_t group) { return int64_t{(size - 1) / group + 1}; };
  return groups(o.tokens, 128 * tile.cluster_rows) *
         groups(o.out_features, tile.tile_cols * tile.cluster_cols) * tile.cluster_rows *
         tile.cluster_cols;
}

// Clock cycles for one step of 128 bytes along k, of every block at once: the larger of what the
// tensor cores need and what the L2 cache delivers to all multiprocessors.
double StepCycles(const WgmmaTile& tile, int64_t blocks) {
  constexpr double kMacs = 4096;   // of a multiprocessor per cycle
  constexpr double kL2Bytes = 38;  // to each multiprocessor per cycle when all ask
  const double macs = 128.0 * 128.0 * tile.tile_cols / kMacs;
  const double bytes =
      128.0 * (128.0 / tile.cluster_cols + 1.0 * tile.tile_cols / tile.cluster_rows);
  const double busy = std::min<double>(1.0, static_cast<double>(blocks) / 132.0);
  return std::max(macs, bytes / kL2Bytes * busy);
}

double Cycles(const ProductOperands& o, const WgmmaTile& tile, int32_t multiprocessors) {
  const int64_t cluster = tile.cluster_rows * tile.cluster_cols;
  const int64_t at_once = multiprocessors / cluster * cluster;
  const int64_t blocks = Blocks(o, tile);
  const int64_t waves = (blocks + at_once - 1) / at_once;
  const double steps = o.code_stride / 128.0;
  // An epilogue costs about as much as eight cycles for each of its columns.
  const double epilogue = 1000 + 8.0 * tile.tile_cols;
  return static_cast<double>(waves) * (steps * StepCycles(tile, blocks) + epilogue);
}

WgmmaTile BestTile(const ProductOperands& o, int32_t multiprocessors) {
  return std::min_element(std::begin(kTiles), std::end(kTiles),
                          [&](const NamedTile& a, const NamedTile& b) {
                            return Cycles(o, a.tile, multiprocessors) <
                                   Cycles(o, b.tile, multiprocessors);
                          })
      ->tile;
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
    plan.tile = BestTile(o, device.multiprocessors);
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
  for (const NamedTile& named : kTiles) {
    if (named.tile.tile_cols == plan.tile.tile_cols &&
        named.tile.cluster_rows == plan.tile.cluster_rows &&
        named.tile.cluster_cols == plan.tile.cluster_cols)
      return named.name;
  }
  return "wgmma";
}

}  // namespace octavo::cuda
