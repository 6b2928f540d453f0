// The two scalar rules that weights and activations share (docs/numerics.md, sections 2, 3 and 6).
#include <cmath>

#include "kernels/cpu/fp_environment.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

constexpr float kSmallestAbsmax =
    127.0f * 0x1p-126f;  // absmax / 127 is a normal float from here on
constexpr float kSmallestRange = 255.0f * 0x1p-126f;

ZeropointGrid GridOf(float lo, float hi) {
  float range = hi - lo;
  if (range < kSmallestRange) return {};
  float levels = 255.0f;
  if (std::isinf(range)) {
    range = hi / 2.0f - lo / 2.0f;
    levels = 127.5f;
  }
  ZeropointGrid grid;
  grid.inverse_step = levels / range;
  grid.step = range / levels;
  grid.zero_point = static_cast<int32_t>(std::nearbyint(-lo * grid.inverse_step));
  return grid;
}

}  // namespace

ZeropointGrid MakeZeropointGrid(float lo, float hi) noexcept {
  const FpEnvironment environment;
  PinToEnvironment(lo);
  PinToEnvironment(hi);
  ZeropointGrid grid = GridOf(lo, hi);
  PinToEnvironment(grid);
  return grid;
}

float StoredAbsmax(float absmax) noexcept {
  const FpEnvironment environment;
  PinToEnvironment(absmax);
  float stored = absmax < kSmallestAbsmax ? 0.0f : absmax;
  PinToEnvironment(stored);
  return stored;
}

}  // namespace octavo::kernels
