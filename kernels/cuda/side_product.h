// The 16-bit product of the entries of G (docs/numerics.md, section 5) inside an int8 product's
// epilogue. A tile's float accumulators hold acc * s; to them are added, a chunk of columns at a
// time,
//
//   sum over outlier entries of X * (code - zero point)   then everything is multiplied by a[n],
//   then sum over kept columns of X * kept weight.
//
// A chunk is a few columns of X for the tile's rows and of the weights for the tile's columns,
// gathered into shared memory: 16 columns as 16-bit terms for one m16n8k16 step, or, in scope
// token, 8 columns as floats with a mask of each row's own entries, for fused multiply-adds in
// ascending order of the columns. That order, and with it a row's bits, is the same in every
// kernel.
#pragma once

#include <cstdint>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/primitives.h"

namespace octavo::cuda {

inline constexpr int kTermColumns = 16;  // of a chunk of 16-bit terms
inline constexpr int kEntryColumns = 8;  // of a chunk of entries

// ---- Which chunks -------------------------------------------------------------------------------

// How X and the weights are cut into 16-bit terms that multiply exactly.
struct SideTerms {
  bool half = false;  // fp16 terms, one each; else bf16
  int32_t x_terms = 1;
  int32_t w_terms = 1;
};

OCTAVO_DEVICE SideTerms TermsOf(ElementType x_type, ElementType w_type, bool w_is_code) {
  const auto terms = [](ElementType type) {
    return type == ElementType::kFloat16 ? 2 : type == ElementType::kBFloat16 ? 1 : 3;
  };
  if (x_type == ElementType::kFloat16 && (w_is_code || w_type == ElementType::kFloat16))
    return {true, 1, 1};
  return {false, terms(x_type), w_is_code ? 1 : terms(w_type)};
}

// One chunk: columns `first` and on of the outlier columns or of the kept ones.
struct SideChunk {
  bool kept = false;
  int32_t first = 0;
  int32_t count = 0;  // columns that there are; the others count as 0
  bool half = false;
  bool single = false;  // one term each: X's own bits, and the codes or the kept weights' bits
  int32_t x_term = 0;
  int32_t w_term = 0;
};

// The chunks of every tile: first those of outliers, then those of kept columns.
struct SidePlan {
  int32_t columns = kTermColumns;  // of a chunk
  int32_t num_outliers = 0;
  int32_t num_kept = 0;
  SideTerms outlier_terms;
  SideTerms kept_terms;
  int32_t outlier_chunks = 0;
  int32_t chunks = 0;

  OCTAVO_DEVICE SideChunk at(int32_t index) const {
    const bool kept = index >= outlier_chunks;
    const SideTerms& terms = kept ? kept_terms : outlier_terms;
    if (kept) index -= outlier_chunks;
    const int32_t term = index % (terms.x_terms * terms.w_terms);
    SideChunk chunk;
    chunk.kept = kept;
    chunk.half = terms.half;
    chunk.single = terms.x_terms * terms.w_terms == 1;
    chunk.first = index / (terms.x_terms * terms.w_terms) * columns;
    const int32_t left = (kept ? num_kept : num_outliers) - chunk.first;
    chunk.count = left < columns ? left : columns;
    chunk.x_term = term % terms.x_terms;
    chunk.w_term = term / terms.x_terms;
    return chunk;
  }
};

OCTAVO_DEVICE SidePlan MakeSidePlan(const ProductOperands& o, int32_t num_outliers) {
  SidePlan plan;
  plan.columns = o.by_entry ? kEntryColumns : kTermColumns;
  plan.num_outliers = num_outliers;
  plan.num_kept = o.num_kept;
  if (!o.by_entry) {
    plan.outlier_terms = TermsOf(o.x_type, o.x_type, true);
    plan.kept_terms = TermsOf(o.x_type, o.kept_type, false);
  }
  const auto chunks = [&](int32_t count, const SideTerms& terms) {
    return (count + plan.columns - 1) / plan.columns * terms.x_terms * terms.w_terms;
  };
  plan.outlier_chunks = chunks(plan.num_outliers, plan.outlier_terms);
  plan.chunks = plan.outlier_chunks + chunks(plan.num_kept, plan.kept_terms);
  return plan;
}

// ---- A chunk in shared memory -------------------------------------------------------------------

// [kRows][16] terms of X, [kCols][16] terms of the weights; or [kRows][8] and [kCols][8] floats and
// [kRows] masks: as many bytes, and kRows * 4 more.
template <int kRows, int kCols>
struct SideBuffer {
  static constexpr int kXBytes = kRows * kTermColumns * 2;
  static constexpr int kWBytes = kCols * kTermColumns * 2;
  static constexpr int kBytes = kXBytes + kWBytes + kRows * 4;

  unsigned char* memory = nullptr;  // 16-byte aligned

  OCTAVO_DEVICE uint16_t* x_terms() const { return reinterpret_cast<uint16_t*>(memory); }
  OCTAVO_DEVICE uint16_t* w_terms() const { return reinterpret_cast<uint16_t*>(memory + kXBytes); }
  OCTAVO_DEVICE float* x_entries() const { return reinterpret_cast<float*>(memory); }
  OCTAVO_DEVICE float* w_entries() const { return reinterpret_cast<float*>(memory + kXBytes); }
  OCTAVO_DEVICE uint32_t* own() const {
    return reinterpret_cast<uint32_t*>(memory + kXBytes + kWBytes);
  }
};

// Some columns of a chunk: which of X's they are.
template <int kColumns>
struct SideColumns {
  int32_t first = 0;  // in the list
  int32_t count = 0;
  int32_t k[kColumns];
};
template <int kColumns>
OCTAVO_DEVICE SideColumns<kColumns> LoadColumns(const ProductOperands& o, const SideChunk& chunk,
                                                int32_t offset) {
  const int32_t* const list = chunk.kept ? o.kept_index : o.outlier_columns;
  SideColumns<kColumns> columns;
  columns.first = chunk.first + offset;
  columns.count = chunk.count - offset;
  OCTAVO_UNROLL
  for (int i = 0; i < kColumns; ++i) columns.k[i] = i < columns.count ? list[columns.first + i] : 0;
  return columns;
}

// X[row] in these columns; 0 past the last row and column. All loads are under way at once.
template <int kColumns>
OCTAVO_DEVICE void LoadSideX(const ProductOperands& o, const SideColumns<kColumns>& columns,
                             int32_t row, float (&value)[kColumns]) {
  OCTAVO_UNROLL
  for (int i = 0; i < kColumns; ++i) value[i] = 0.0f;
  if (row >= o.tokens) return;
  OCTAVO_UNROLL
  for (int i = 0; i < kColumns; ++i) {
    if (i < columns.count) value[i] = LoadElement(o.x, o.x_type, row * o.x_stride + columns.k[i]);
  }
}

// What stands in place of the weights of an output feature: the codes less their zero point, or
// the kept weights.
template <int kColumns>
OCTAVO_DEVICE void LoadSideW(const ProductOperands& o, bool kept,
                             const SideColumns<kColumns>& columns, int32_t out_feature,
                             float (&value)[kColumns]) {
  OCTAVO_UNROLL
  for (int i = 0; i < kColumns; ++i) value[i] = 0.0f;
  if (out_feature >= o.out_features) return;
  if (kept) {
    OCTAVO_UNROLL
    for (int i = 0; i < kColumns; ++i) {
      const int64_t index = int64_t{columns.first + i} * o.out_features + out_feature;
      if (i < columns.count) value[i] = LoadElement(o.kept_weight, o.kept_type, index);
    }
    return;
  }
  const int8_t* const codes = o.w_codes + int64_t{out_feature} * o.code_stride;
  const int32_t zero_point = o.w_zero_point != nullptr ? o.w_zero_point[out_feature] : 0;
  OCTAVO_UNROLL
  for (int i = 0; i < kColumns; ++i) {
    if (i < columns.count) value[i] = IntToFloat(codes[columns.k[i]] - zero_point);
  }
}

OCTAVO_DEVICE uint16_t SideTerm(float value, bool half, int32_t term) {
  return half ? FloatToHalf(value) : BFloat16Term(value, term);
}
OCTAVO_DEVICE void StoreTerms(const float (&value)[8], bool half, int32_t term, uint16_t* target) {
  Vec16 packed;
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    packed.x[i] = SideTerm(value[2 * i], half, term) |
                  static_cast<uint32_t>(SideTerm(value[2 * i + 1], half, term)) << 16;
  }
  *reinterpret_cast<Vec16*>(target) = packed;
}

OCTAVO_DEVICE bool IsFinite(float value) { return (FloatBits(value) & 0x7f800000u) != 0x7f800000u; }

// Fills a buffer with the chunk of the tile whose first row and output feature are given; `thread`
// of kThreads threads. The caller synchronizes.
//
// Chunks of single terms: bits are copied, and all loads of a thread are under way at once.
template <int kThreads, int kRows, int kCols>
OCTAVO_DEVICE void FillSingleTerms(const ProductOperands& o, const SideChunk& chunk,
                                   int32_t first_row, int32_t first_col,
                                   const SideBuffer<kRows, kCols>& buffer, int thread) {
  constexpr int kRowItems = (kRows - 1) / kThreads + 1, kColItems = (kCols - 1) / kThreads + 1;
  const auto* const x = static_cast<const uint16_t*>(o.x);
  const auto* const kept_weight = static_cast<const uint16_t*>(o.kept_weight);
  for (int offset = 0; offset < kTermColumns; offset += 8) {
    const SideColumns<8> columns = LoadColumns<8>(o, chunk, offset);
    uint32_t x_bits[kRowItems][8];
    int32_t w_bits[kColItems][8];  // codes where not kept
    OCTAVO_UNROLL
    for (int item = 0; item < kRowItems; ++item) {
      const int row = thread + item * kThreads, m = first_row + row;
      const bool exists = row < kRows && m < o.tokens;
      OCTAVO_UNROLL
      for (int i = 0; i < 8; ++i)
        x_bits[item][i] = exists && i < columns.count ? x[m * o.x_stride + columns.k[i]] : 0;
    }
    OCTAVO_UNROLL
    for (int item = 0; item < kColItems; ++item) {
      const int col = thread + item * kThreads, n = first_col + col;
      const bool exists = col < kCols && n < o.out_features;
      OCTAVO_UNROLL
      for (int i = 0; i < 8; ++i) {
        w_bits[item][i] = 0;
        if (!exists || i >= columns.count) continue;
        w_bits[item][i] = chunk.kept ? kept_weight[int64_t{columns.first + i} * o.out_features + n]
                                     : o.w_codes[int64_t{n} * o.code_stride + columns.k[i]];
      }
    }
    OCTAVO_UNROLL
    for (int item = 0; item < kRowItems; ++item) {
      const int row = thread + item * kThreads;
      if (row >= kRows) continue;
      Vec16 packed;
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) packed.x[i] = x_bits[item][2 * i] | x_bits[item][2 * i + 1] << 16;
      *reinterpret_cast<Vec16*>(buffer.x_terms() + row * kTermColumns + offset) = packed;
    }
    OCTAVO_UNROLL
    for (int item = 0; item < kColItems; ++item) {
      const int col = thread + item * kThreads;
      if (col >= kCols) continue;
      const bool shifted =
          !chunk.kept && o.w_zero_point != nullptr && first_col + col < o.out_features;
      const int32_t zero_point = shifted ? o.w_zero_point[first_col + col] : 0;
      Vec16 packed;
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int32_t first = w_bits[item][2 * i], second = w_bits[item][2 * i + 1];
        if (chunk.kept) {
          packed.x[i] = static_cast<uint32_t>(first) | static_cast<uint32_t>(second) << 16;
          continue;
        }
        const float low = 2 * i < columns.count ? IntToFloat(first - zero_point) : 0.0f;
        const float high = 2 * i + 1 < columns.count ? IntToFloat(second - zero_point) : 0.0f;
        packed.x[i] = chunk.half ? PackHalf2(low, high) : PackBFloat162(low, high);
      }
      *reinterpret_cast<Vec16*>(buffer.w_terms() + col * kTermColumns + offset) = packed;
    }
  }
}

// Any chunk of terms.
template <int kThreads, int kRows, int kCols>
OCTAVO_DEVICE void FillTerms(const ProductOperands& o, const SideChunk& chunk, int32_t first_row,
                             int32_t first_col, const SideBuffer<kRows, kCols>& buffer,
                             int thread) {
  for (int offset = 0; offset < kTermColumns; offset += 8) {
    const SideColumns<8> columns = LoadColumns<8>(o, chunk, offset);
    float value[8];
    for (int row = thread; row < kRows; row += kThreads) {
      LoadSideX(o, columns, first_row + row, value);
      // An infinity meets the whole weight in its first term; the others are 0 where that is exact.
      OCTAVO_UNROLL
      for (int i = 0; i < 8; ++i) {
        if (chunk.w_term > 0 && !IsFinite(value[i])) value[i] = 0.0f;
      }
      StoreTerms(value, chunk.half, chunk.x_term, buffer.x_terms() + row * kTermColumns + offset);
    }
    for (int col = thread; col < kCols; col += kThreads) {
      LoadSideW(o, chunk.kept, columns, first_col + col, value);
      StoreTerms(value, chunk.half, chunk.w_term, buffer.w_terms() + col * kTermColumns + offset);
    }
  }
}

// Scope token: floats, and which of them are the row's own.
template <int kThreads, int kRows, int kCols>
OCTAVO_DEVICE void FillEntries(const ProductOperands& o, const SideChunk& chunk, int32_t first_row,
                               int32_t first_col, const SideBuffer<kRows, kCols>& buffer,
                               int thread) {
  const SideColumns<kEntryColumns> columns = LoadColumns<kEntryColumns>(o, chunk, 0);
  float value[kEntryColumns];
  for (int row = thread; row < kRows; row += kThreads) {
    LoadSideX(o, columns, first_row + row, value);
    uint32_t own = 0;
    OCTAVO_UNROLL
    for (int i = 0; i < kEntryColumns; ++i) {
      buffer.x_entries()[row * kEntryColumns + i] = value[i];
      if (i < chunk.count && (chunk.kept || IsOutlier(Seen(value[i], o.via_fp16), o.threshold)))
        own |= 1u << i;
    }
    buffer.own()[row] = own;
  }
  for (int col = thread; col < kCols; col += kThreads) {
    LoadSideW(o, chunk.kept, columns, first_col + col, value);
    OCTAVO_UNROLL
    for (int i = 0; i < kEntryColumns; ++i) buffer.w_entries()[col * kEntryColumns + i] = value[i];
  }
}

template <int kThreads, int kRows, int kCols>
OCTAVO_DEVICE void FillChunk(const ProductOperands& o, const SideChunk& chunk, int32_t first_row,
                             int32_t first_col, const SideBuffer<kRows, kCols>& buffer,
                             int thread) {
  if (o.by_entry) {
    FillEntries<kThreads>(o, chunk, first_row, first_col, buffer, thread);
  } else if (chunk.single) {
    FillSingleTerms<kThreads>(o, chunk, first_row, first_col, buffer, thread);
  } else {
    FillTerms<kThreads>(o, chunk, first_row, first_col, buffer, thread);
  }
}

// ---- Into the accumulators ----------------------------------------------------------------------

// The accumulators of one warp: 16 rows by 8 * kGroups output features in the layout of m16n8's C,
// so that this lane has rows lane / 4 and lane / 4 + 8, features 8 * group + 2 * (lane % 4) + {0,
// 1}: value[group][0..1] of the first row, [2..3] of the second. `tile_row` and `tile_col` say
// where they lie in the buffer's tile.
//
// A lane takes 8 neighboring bytes of a row of terms for what the instruction calls k 2t, 2t + 1
// and 2t + 8, 2t + 9: other columns of the chunk, but the same ones of X and of the weights.
template <int kGroups, int kRows, int kCols>
OCTAVO_DEVICE void AddTerms(const SideBuffer<kRows, kCols>& buffer, bool half, int tile_row,
                            int tile_col, float (&value)[kGroups][4]) {
  struct alignas(8) Four {
    uint32_t words[2];
  };
  const int row = tile_row + LaneIdx() / 4;
  const auto four = [](const uint16_t* terms, int index) {
    return *reinterpret_cast<const Four*>(terms + index * kTermColumns + 4 * (LaneIdx() % 4));
  };
  const Four upper = four(buffer.x_terms(), row), lower = four(buffer.x_terms(), row + 8);
  const uint32_t a[4] = {upper.words[0], lower.words[0], upper.words[1], lower.words[1]};
  const auto for_groups = [&](auto&& multiply) {
    OCTAVO_UNROLL
    for (int group = 0; group < kGroups; ++group)
      multiply(value[group], four(buffer.w_terms(), tile_col + 8 * group + LaneIdx() / 4));
  };
  if (half) {
    for_groups([&](float(&sum)[4], const Four& w) { MmaF16(sum, a, w.words); });
  } else {
    for_groups([&](float(&sum)[4], const Four& w) { MmaBF16(sum, a, w.words); });
  }
}

template <int kGroups, int kRows, int kCols>
OCTAVO_DEVICE void AddEntries(const SideBuffer<kRows, kCols>& buffer, int tile_row, int tile_col,
                              float (&value)[kGroups][4]) {
  const int row = tile_row + LaneIdx() / 4;
  const uint32_t own[2] = {buffer.own()[row], buffer.own()[row + 8]};
  for (int32_t slot = 0; slot < kEntryColumns; ++slot) {
    if ((((own[0] | own[1]) >> slot) & 1u) == 0) continue;
    const float x[2] = {buffer.x_entries()[row * kEntryColumns + slot],
                        buffer.x_entries()[(row + 8) * kEntryColumns + slot]};
    OCTAVO_UNROLL
    for (int group = 0; group < kGroups; ++group) {
      OCTAVO_UNROLL
      for (int c = 0; c < 2; ++c) {
        const int col = tile_col + 8 * group + 2 * (LaneIdx() % 4) + c;
        const float w = buffer.w_entries()[col * kEntryColumns + slot];
        OCTAVO_UNROLL
        for (int r = 0; r < 2; ++r) {
          float& sum = value[group][2 * r + c];
          if ((own[r] >> slot) & 1u) sum = FmaRn(x[r], w, sum);
        }
      }
    }
  }
}

template <int kGroups, int kRows, int kCols>
OCTAVO_DEVICE void AddChunk(const SideBuffer<kRows, kCols>& buffer, bool by_entry, bool half,
                            int tile_row, int tile_col, float (&value)[kGroups][4]) {
  if (by_entry) {
    AddEntries(buffer, tile_row, tile_col, value);
  } else {
    AddTerms(buffer, half, tile_row, tile_col, value);
  }
}

}  // namespace octavo::cuda
