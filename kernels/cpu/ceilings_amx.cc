// AMX-INT8: tdpbusd on eight tiles.
#include <immintrin.h>

#include "kernels/cpu/ceilings.h"
#include "kernels/cpu/tile_config.h"

namespace octavo::kernels {
namespace {

constexpr int kProducts = 6;  // independent ones, of 16 x 64 codes by 64 x 16 each

void Multiply(int64_t rounds) {
  LoadTileConfig({});
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbusd(0, 6, 7);
    _tile_dpbusd(1, 6, 7);
    _tile_dpbusd(2, 6, 7);
    _tile_dpbusd(3, 6, 7);
    _tile_dpbusd(4, 6, 7);
    _tile_dpbusd(5, 6, 7);
  }
  _tile_release();
}

}  // namespace

// Reading is that of AVX-512.
constinit const CeilingLoops kAmxCeilings = {kProducts * 2.0 * 16 * 64 * 16, &Multiply, nullptr};

}  // namespace octavo::kernels
