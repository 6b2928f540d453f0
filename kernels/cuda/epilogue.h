// From a warp's int32 accumulators to y: what the tiled products have in common. The accumulators
// are in the layout of m16n8's C (see side_product.h), which is that of wgmma's too.
#pragma once

#include <cstdint>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/primitives.h"

namespace octavo::cuda {

// What an epilogue needs of a tile's output features, in shared memory.
template <int kCols>
struct ColumnBuffer {
  static constexpr int kBytes = kCols * 16;

  unsigned char* memory = nullptr;

  OCTAVO_DEVICE float* multiplier() const { return reinterpret_cast<float*>(memory); }
  OCTAVO_DEVICE int32_t* code_sum() const { return reinterpret_cast<int32_t*>(memory + 4 * kCols); }
  OCTAVO_DEVICE int32_t* zero_point() const {
    return reinterpret_cast<int32_t*>(memory + 8 * kCols);
  }
  OCTAVO_DEVICE float* bias() const { return reinterpret_cast<float*>(memory + 12 * kCols); }
};

// The caller synchronizes.
template <int kCols>
OCTAVO_DEVICE void FillColumns(const ProductOperands& o, int32_t first_col,
                               const ColumnBuffer<kCols>& buffer, int thread, int threads) {
  for (int i = thread; i < kCols; i += threads) {
    const int32_t col = first_col + i;
    const bool exists = col < o.out_features;
    buffer.multiplier()[i] = exists ? o.multiplier[col] : 0.0f;
    buffer.code_sum()[i] = exists ? o.w_code_sum[col] : 0;
    buffer.zero_point()[i] = exists && o.w_zero_point != nullptr ? o.w_zero_point[col] : 0;
    // -0 leaves every value as it is.
    buffer.bias()[i] = exists && o.bias != nullptr ? LoadElement(o.bias, o.bias_type, col) : -0.0f;
  }
}

// What it needs of a row.
struct RowOperands {
  float scale = 0;
  int32_t zero_point = 0;
  int32_t code_sum = 0;
};
OCTAVO_DEVICE RowOperands LoadRow(const ProductOperands& o, int32_t row) {
  if (row >= o.tokens) return {};
  return {o.x_scale[row], o.x_zero_point[row], o.x_code_sum[row]};
}

// Two neighboring output features' values: those of value[group][i] and [i + 1], i even.
template <class T>
struct alignas(8) Pair {
  T of[2];
};
template <class T>
OCTAVO_DEVICE Pair<T> PairAt(const T* columns, int tile_col, int group) {
  return *reinterpret_cast<const Pair<T>*>(columns + tile_col + 8 * group + 2 * (LaneIdx() % 4));
}

// The exact accumulators of one group, from the raw sums of products of codes.
template <int kCols>
OCTAVO_DEVICE void CorrectGroup(const ProductOperands& o, const ColumnBuffer<kCols>& columns,
                                const RowOperands (&row)[2], int tile_col, int group,
                                const int32_t* raw, int32_t (&exact)[4]) {
  const Pair<int32_t> code_sum = PairAt(columns.code_sum(), tile_col, group);
  const Pair<int32_t> zero_point = PairAt(columns.zero_point(), tile_col, group);
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    const RowOperands& r = row[i / 2];
    exact[i] = CorrectedAcc(raw[i], r.zero_point, r.code_sum, code_sum.of[i % 2],
                            zero_point.of[i % 2], o.in_features);
  }
}

// acc * s, where acc[4 * group + i] are the raw sums.
template <int kGroups, int kCols>
OCTAVO_DEVICE void ScaleByRow(const ProductOperands& o, const ColumnBuffer<kCols>& columns,
                              const RowOperands (&row)[2], int tile_col,
                              const int32_t (&acc)[4 * kGroups], float (&value)[kGroups][4]) {
  if (o.w_zero_point == nullptr) {  // nearly always: less to do
    OCTAVO_UNROLL
    for (int group = 0; group < kGroups; ++group) {
      const Pair<int32_t> code_sum = PairAt(columns.code_sum(), tile_col, group);
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) {
        const RowOperands& r = row[i / 2];
        const int32_t exact = LessProduct(acc[4 * group + i], r.zero_point, code_sum.of[i % 2]);
        value[group][i] = MulRn(IntToFloat(exact), r.scale);
      }
    }
    return;
  }
  OCTAVO_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    int32_t exact[4];
    CorrectGroup(o, columns, row, tile_col, group, &acc[4 * group], exact);
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) value[group][i] = MulRn(IntToFloat(exact[i]), row[i / 2].scale);
  }
}

template <int kGroups, int kCols>
OCTAVO_DEVICE void ScaleByColumn(const ColumnBuffer<kCols>& columns, int tile_col,
                                 float (&value)[kGroups][4]) {
  OCTAVO_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    const Pair<float> a = PairAt(columns.multiplier(), tile_col, group);
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) value[group][i] = MulRn(value[group][i], a.of[i % 2]);
  }
}

template <int kGroups, int kCols>
OCTAVO_DEVICE void AddBias(const ColumnBuffer<kCols>& columns, int tile_col,
                           float (&value)[kGroups][4]) {
  OCTAVO_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    const Pair<float> bias = PairAt(columns.bias(), tile_col, group);
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) value[group][i] = AddRn(value[group][i], bias.of[i % 2]);
  }
}

// For the tests: the exact accumulators of the same main loop.
template <int kGroups, int kCols>
OCTAVO_DEVICE void StoreAcc(const ProductOperands& o, const ColumnBuffer<kCols>& columns,
                            const RowOperands (&row)[2], int32_t first_row, int32_t first_col,
                            int tile_row, int tile_col, const int32_t (&acc)[4 * kGroups]) {
  OCTAVO_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    int32_t exact[4];
    CorrectGroup(o, columns, row, tile_col, group, &acc[4 * group], exact);
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int32_t m = first_row + tile_row + LaneIdx() / 4 + 8 * (i / 2);
      const int32_t n = first_col + tile_col + 8 * group + 2 * (LaneIdx() % 4) + i % 2;
      if (m < o.tokens && n < o.out_features) o.raw_acc[int64_t{m} * o.out_features + n] = exact[i];
    }
  }
}

// The four lanes of a quad hold four words each: afterwards lane i has everyone's i-th, in order of
// the lanes.
OCTAVO_DEVICE void TransposeQuad(uint32_t (&word)[4]) {
  const int lane = LaneIdx() % 4;
  OCTAVO_UNROLL
  for (int step = 1; step <= 2; step *= 2) {
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (i & step) continue;
      const bool upper = (lane & step) != 0;
      const uint32_t received = ShuffleXor(upper ? word[i] : word[i + step], step);
      if (upper) {
        word[i] = received;
      } else {
        word[i + step] = received;
      }
    }
  }
}

// 16-bit outputs in rows that 16-byte stores can reach: four groups at a time are turned so that a
// lane has 8 neighboring features.
template <bool kHalf, int kGroups>
OCTAVO_DEVICE void StoreOctets(const ProductOperands& o, int32_t row, int32_t first_col,
                               const float (&value)[kGroups][4]) {
  constexpr int kFours = kGroups / 4 * 4;
  const int32_t col = first_col + 8 * (LaneIdx() % 4);
  uint16_t* const y = static_cast<uint16_t*>(o.y) + row * o.y_stride + col;
  OCTAVO_UNROLL
  for (int r = 0; r < 2; ++r) {
    const bool has_row = row + 8 * r < o.tokens;
    OCTAVO_UNROLL
    for (int group = 0; group < kFours; group += 4) {
      Vec16 packed;
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float(&v)[4] = value[group + i];
        packed.x[i] =
            kHalf ? PackHalf2(v[2 * r], v[2 * r + 1]) : PackBFloat162(v[2 * r], v[2 * r + 1]);
      }
      TransposeQuad(packed.x);
      if (has_row && col + 8 * group < o.out_features)
        Store16(y + 8 * r * o.y_stride + 8 * group, packed);
    }
    // What is left of four groups.
    OCTAVO_UNROLL
    for (int group = kFours; group < kGroups; ++group) {
      const float(&v)[4] = value[group];
      const int32_t pair = first_col + 8 * group + 2 * (LaneIdx() % 4);
      if (!has_row || pair >= o.out_features) continue;
      uint16_t* const target = static_cast<uint16_t*>(o.y) + (row + 8 * r) * o.y_stride + pair;
      *reinterpret_cast<uint32_t*>(target) =
          kHalf ? PackHalf2(v[2 * r], v[2 * r + 1]) : PackBFloat162(v[2 * r], v[2 * r + 1]);
    }
  }
}

// Any type, any place.
template <int kGroups>
OCTAVO_DEVICE void StoreElements(const ProductOperands& o, int32_t row, int32_t first_col,
                                 const float (&value)[kGroups][4]) {
  OCTAVO_UNROLL
  for (int group = 0; group < kGroups; ++group) {
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int32_t m = row + 8 * (i / 2);
      const int32_t n = first_col + 8 * group + 2 * (LaneIdx() % 4) + i % 2;
      if (m < o.tokens && n < o.out_features)
        StoreElement(value[group][i], o.y, o.y_type, m * o.y_stride + n);
    }
  }
}

// Rounds once, and stores.
template <int kGroups>
OCTAVO_DEVICE void StoreOutput(const ProductOperands& o, int32_t first_row, int32_t first_col,
                               int tile_row, int tile_col, const float (&value)[kGroups][4]) {
  const int32_t row = first_row + tile_row + LaneIdx() / 4, col = first_col + tile_col;
  const bool in_octets = o.y_type != ElementType::kFloat32 && o.out_features % 8 == 0 &&
                         reinterpret_cast<uintptr_t>(o.y) % 16 == 0 && o.y_stride % 8 == 0;
  if (!in_octets) {
    StoreElements(o, row, col, value);
  } else if (o.y_type == ElementType::kFloat16) {
    StoreOctets<true>(o, row, col, value);
  } else {
    StoreOctets<false>(o, row, col, value);
  }
}

}  // namespace octavo::cuda
