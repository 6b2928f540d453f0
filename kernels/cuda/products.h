// The launchers of the products: y = x W^T + bias, or acc for the tests. All read the same operands
// and give the same accumulators; plan.h says which one is for what. Each enqueues one kernel,
// which waits for the kernel in front of it by itself. Requires: tokens, in_features, out_features
// > 0.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/quantize_activations.h"

namespace octavo::cuda {

// Up to kMaxFewTokens tokens, on every device.
inline constexpr int32_t kMaxFewTokens = 16;
inline constexpr int32_t kFewTokensTileCols = 16;  // output features of its tiles
CudaStatus LaunchFewTokens(const ProductOperands& o, const DeviceTraits& device, void* stream);

// The same with the quantization in the same kernel, for fewer tokens still. Of the operands those
// of the quantized activations are not read; nothing is left in a workspace.
bool FewTokensCanQuantize(const QuantizeCall& call, const DeviceTraits& device);
CudaStatus LaunchQuantizeFewTokens(const QuantizeCall& call, const ProductOperands& o,
                                   const DeviceTraits& device, void* stream);

// Any number of tokens, by mma.sync, on every device.
CudaStatus LaunchProductMma(const ProductOperands& o, void* stream);

// Any number of tokens, by wgmma: devices with DeviceTraits::has_wgmma. A block's tile has 128
// tokens and tile_cols output features. Two blocks below each other may share the weights, or two
// may share one tile of 64 or 128, each with a half of k.
struct WgmmaTile {
  int32_t tile_cols = 256;  // a multiple of 32 from 64 to 256
  int32_t cluster = 1;      // blocks that share weights: 1 or 2
  int32_t splits = 1;       // blocks that share a tile: 1, or 2 where cluster is 1

  bool operator==(const WgmmaTile&) const = default;
};
CudaStatus LaunchProductWgmma(const ProductOperands& o, const WgmmaTile& tile, void* stream);

// Rows so long that acc leaves int32: sums in int64, slow.
CudaStatus LaunchDeepRows(const ProductOperands& o, void* stream);

}  // namespace octavo::cuda
