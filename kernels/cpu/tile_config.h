// What ldtilecfg reads, and reading it. Needs AMX-TILE.
//
// In an unnamed namespace on purpose, like ymm_common.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace octavo::kernels {
namespace {

inline constexpr int kNumTiles = 8;

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

inline void LoadTileConfig(const TileConfig& config) {
  asm volatile("" : : "r"(&config) : "memory");  // GCC's intrinsic names only 8 of its bytes
  _tile_loadconfig(&config);
}

}  // namespace
}  // namespace octavo::kernels
