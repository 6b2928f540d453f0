// The portable table: plain C++ for any 64-bit machine, written so that the compiler vectorizes its
// inner loops (SSE2 on x86-64: pmaddwd on codes widened to int16). Layout: plain.
//
// Shape of the product: a block of outputs walks the input features in chunks; the chunk's
// activation codes are widened once per block, the weights of four output features once per chunk,
// and tiles of 2 x 4 dot products run over them from the first-level cache. Sums of a chunk fit
// int32; between chunks they are int64, so acc is exact for every in_features.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/fp_environment.h"
#include "kernels/cpu/row_loops.h"
#include "kernels/cpu/tables.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

// ---- Elements ---------------------------------------------------------------------------------

constexpr float kRounder =
    0x1.8p23f;  // (x + kRounder) - kRounder is x to nearest even, |x| <= 2^22
constexpr uint32_t kRounderBits =
    0x4b400000u;  // its bits; adding an integer i to it gives kRounderBits + i

template <class T>
T Load(const unsigned char* data, size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof(T), sizeof(T));
  return value;
}

// yes or no without a branch: the vectorizer gives up where a branch could skip a floating-point
// operation.
inline int32_t Select(bool condition, int32_t yes, int32_t no) {
  const int32_t mask = -static_cast<int32_t>(condition);
  return (yes & mask) | (no & ~mask);
}

// The conversions of octavo/half.h without branches.
inline float WidenHalf(uint16_t half) {
  const int32_t magnitude = half & 0x7fff;
  const int32_t normal = (magnitude << 13) + (magnitude >= 0x7c00 ? 224 << 23 : 112 << 23);
  // 0.5 + magnitude * 2^-24 has magnitude in its last places; the subtraction is exact.
  const float subnormal = __builtin_bit_cast(float, magnitude | (126 << 23)) - 0.5f;
  const int32_t bits = Select(magnitude < 0x400, __builtin_bit_cast(int32_t, subnormal), normal);
  return __builtin_bit_cast(
      float, static_cast<uint32_t>(bits) | (static_cast<uint32_t>(half & 0x8000) << 16));
}

inline uint16_t NarrowToHalf(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const int32_t magnitude = static_cast<int32_t>(bits & 0x7fffffffu);
  const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
  const int32_t subnormal = __builtin_bit_cast(int32_t, shifted) - 0x3f000000;
  const int32_t normal = (magnitude - (112 << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  int32_t half = Select(magnitude < 0x38800000, subnormal, normal);
  half = Select(magnitude >= 0x477ff000, 0x7c00, half);
  half = Select(magnitude > kInfinityBits, 0x7e00 | ((magnitude >> 13) & 0x3ff), half);
  return static_cast<uint16_t>(half | static_cast<int32_t>((bits >> 16) & 0x8000u));
}

inline uint16_t NarrowToBFloat16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const bool is_nan = static_cast<int32_t>(bits & 0x7fffffffu) > kInfinityBits;
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40u : rounded);
}

void Widen(Elements source, size_t begin, size_t count, float* out) {
  switch (source.type) {
    case ElementType::kFloat16:
      for (size_t i = 0; i < count; ++i) out[i] = WidenHalf(Load<uint16_t>(source.data, begin + i));
      break;
    case ElementType::kBFloat16:
      for (size_t i = 0; i < count; ++i) {
        const uint32_t bits = static_cast<uint32_t>(Load<uint16_t>(source.data, begin + i)) << 16;
        out[i] = __builtin_bit_cast(float, bits);
      }
      break;
    case ElementType::kFloat32:
      std::memcpy(out, source.data + begin * sizeof(float), count * sizeof(float));
      break;
  }
}

float WidenOne(Elements source, size_t i) {
  float value;
  Widen(source, i, 1, &value);
  return value;
}

void Narrow(const float* values, size_t count, const OutputView& y, size_t offset) {
  switch (y.type) {
    case ElementType::kFloat16: {
      uint16_t* out = static_cast<uint16_t*>(y.data) + offset;
      for (size_t i = 0; i < count; ++i) out[i] = NarrowToHalf(values[i]);
      break;
    }
    case ElementType::kBFloat16: {
      uint16_t* out = static_cast<uint16_t*>(y.data) + offset;
      for (size_t i = 0; i < count; ++i) out[i] = NarrowToBFloat16(values[i]);
      break;
    }
    case ElementType::kFloat32:
      std::memcpy(static_cast<float*>(y.data) + offset, values, count * sizeof(float));
      break;
  }
}

// ---- Ranges and codes of floats ---------------------------------------------------------------

// How many of the values have magnitude bits of at least `limit`. As integers non-finite values
// come out largest.
int32_t CountAtLeast(const float* values, size_t count, int32_t limit) {
  int32_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    found += (__builtin_bit_cast(int32_t, values[i]) & 0x7fffffff) >= limit ? 1 : 0;
  }
  return found;
}

// The range as bits of two non-negative floats, hi and -lo, whose order as integers is that of the
// floats.
struct RangeBits {
  int32_t hi = 0;
  int32_t minus_lo = 0;
  float lo_value() const { return -__builtin_bit_cast(float, minus_lo); }
  float hi_value() const { return __builtin_bit_cast(float, hi); }
};

// A NaN comes out as bits above those of infinity.
void Extend(RangeBits& range, const float* values, size_t count) {
  int32_t hi = range.hi, minus_lo = range.minus_lo;
  for (size_t i = 0; i < count; ++i) {
    const int32_t bits =
        __builtin_bit_cast(int32_t, values[i]);  // negative numbers are negative integers
    const int32_t negated = bits ^ INT32_MIN;
    hi = bits > hi ? bits : hi;
    minus_lo = negated > minus_lo ? negated : minus_lo;
  }
  range.hi = hi;
  range.minus_lo = minus_lo;
}

struct CodeGrid {
  float inverse_step;
  float zero_point;
  float smallest, largest;  // codes before `offset`
  uint32_t offset;          // subtracted from the code when it is stored
};

// codes[i] = clamp(rne(values[i] * inverse_step) + zero_point, smallest, largest) - offset, as the
// low 8 bits. Returns the sum of the codes before `offset`. Requires: finite values within the
// grid's range.
int32_t Encode(const float* __restrict values, size_t count, const CodeGrid& grid,
               uint8_t* __restrict codes) {
  const float inverse_step = grid.inverse_step, zero_point = grid.zero_point;
  const float smallest = grid.smallest, largest = grid.largest;
  const uint32_t offset = grid.offset;
  int32_t sum = 0;
  for (size_t i = 0; i < count; ++i) {
    float code = ((values[i] * inverse_step + kRounder) - kRounder) + zero_point;
    code = code < smallest ? smallest : code;
    code = code > largest ? largest : code;
    const uint32_t integer = __builtin_bit_cast(uint32_t, code + kRounder) - kRounderBits;
    sum += static_cast<int32_t>(integer);
    codes[i] = static_cast<uint8_t>(integer - offset);
  }
  return sum;
}

CodeGrid SymmetricGrid(float stored_absmax) {
  const float inverse_step = stored_absmax > 0.0f ? 127.0f * (1.0f / stored_absmax) : 0.0f;
  return {inverse_step, 0.0f, -127.0f, 127.0f, 0};
}

CodeGrid AsymmetricGrid(const ZeropointGrid& grid, uint32_t offset) {
  return {grid.inverse_step, static_cast<float>(grid.zero_point), 0.0f, 255.0f, offset};
}

// ---- Weights ----------------------------------------------------------------------------------

constexpr size_t kRowPiece = 512;  // floats of a weight row that are widened at a time

// Notes the first non-finite value and sets NaNs to 0, so that they leave the range alone.
void HandleNonFinite(float* piece, size_t begin, size_t count, WeightRange& range) {
  for (size_t i = 0; i < count; ++i) {
    const int32_t magnitude = __builtin_bit_cast(int32_t, piece[i]) & 0x7fffffff;
    if (magnitude >= kInfinityBits) {
      range.first_non_finite = Smaller(range.first_non_finite, begin + i);
    }
    if (magnitude > kInfinityBits) piece[i] = 0.0f;
  }
}

WeightRange RangeOfWeights(const void* row, ElementType type, size_t in_features) {
  const FpEnvironment environment;
  const Elements source{static_cast<const unsigned char*>(row), type};
  float piece[kRowPiece];
  RangeBits bits;
  WeightRange range;
  for (size_t begin = 0; begin < in_features; begin += kRowPiece) {
    const size_t count = Smaller(kRowPiece, in_features - begin);
    Widen(source, begin, count, piece);
    RangeBits extended = bits;
    Extend(extended, piece, count);
    if (extended.hi >= kInfinityBits || extended.minus_lo >= kInfinityBits) {
      HandleNonFinite(piece, begin, count, range);
      extended = bits;
      Extend(extended, piece, count);
    }
    bits = extended;
  }
  range.lo = bits.lo_value();
  range.hi = bits.hi_value();
  return range;
}

int32_t EncodeWeights(const void* row, ElementType type, size_t in_features, const CodeGrid& grid,
                      int8_t* codes) {
  const Elements source{static_cast<const unsigned char*>(row), type};
  float piece[kRowPiece];
  int32_t sum = 0;
  for (size_t begin = 0; begin < in_features; begin += kRowPiece) {
    const size_t count = Smaller(kRowPiece, in_features - begin);
    Widen(source, begin, count, piece);
    sum += Encode(piece, count, grid, reinterpret_cast<uint8_t*>(codes + begin)) -
           static_cast<int32_t>(count * grid.offset);
  }
  return sum;
}

// ---- Activations ------------------------------------------------------------------------------

// One row of X as detection and quantization see it.
struct RowReader {
  Elements row;
  size_t in_features;
  int32_t limit;  // magnitude bits from which an entry is an outlier entry
  bool via_fp16;

  RowReader(const ActivationView& x, const ActivationOptions& options, size_t m)
      : row(RowOfX(x, m)), in_features(x.in_features), via_fp16(options.via_fp16) {
    float threshold = options.threshold;
    if (via_fp16) threshold = WidenHalf(NarrowToHalf(threshold));
    const int32_t bits = __builtin_bit_cast(int32_t, threshold) & 0x7fffffff;
    limit = bits > 0 ? bits : kInfinityBits;
  }

  size_t count(size_t word) const { return Smaller(kWord, in_features - word * kWord); }
  uint64_t Read(size_t word, uint64_t exclude, float* values) const;
};

uint64_t RowReader::Read(size_t word, uint64_t exclude, float* values) const {
  const size_t n = count(word);
  Widen(row, word * kWord, n, values);
  if (via_fp16 && row.type != ElementType::kFloat16) {
    for (size_t i = 0; i < n; ++i) values[i] = WidenHalf(NarrowToHalf(values[i]));
  }
  uint64_t outliers = 0;
  if (CountAtLeast(values, n, limit) != 0) {
    for (size_t i = 0; i < n; ++i) {
      const bool is_outlier = (__builtin_bit_cast(int32_t, values[i]) & 0x7fffffff) >= limit;
      outliers |= static_cast<uint64_t>(is_outlier) << i;
    }
  }
  for (uint64_t rest = outliers | exclude; rest != 0; rest &= rest - 1)
    values[__builtin_ctzll(rest)] = 0.0f;
  return outliers;
}

// For row_loops.h.
struct PortableWords {
  using Values = float[kWord];
  using Reader = RowReader;
  using Range = RangeBits;
  using Grid = CodeGrid;
  using Sums = int32_t;

  static void Extend(Range& range, const Values& values, size_t count) {
    kernels::Extend(range, values, count);
  }
  static Grid Symmetric(float absmax) { return SymmetricGrid(absmax); }
  static Grid Asymmetric(const ZeropointGrid& grid, uint32_t offset) {
    return AsymmetricGrid(grid, offset);
  }
  static int32_t EncodeWeights(const void* row, ElementType type, size_t in_features,
                               const Grid& grid, int8_t* codes) {
    return kernels::EncodeWeights(row, type, in_features, grid, codes);
  }
  static void EncodeWord(const Values& values, size_t count, const Grid& grid, uint8_t* codes,
                         Sums* sums) {
    *sums += Encode(values, count, grid, codes);
    std::memset(codes + count, 0, kWord - count);
  }
  static int32_t Total(Sums sums) { return sums; }
};

// ---- The int8 product -------------------------------------------------------------------------

constexpr size_t kChunk =
    1024;                     // input features between two int64 additions: 1024 * 255 * 128 < 2^31
constexpr size_t kStep = 16;  // chunks are padded with zeros to a multiple of this
constexpr size_t kTileCols = 4;  // output features of a tile

// Pieces of the scratch memory of one block.
struct Scratch {
  int16_t* x;       // [rows rounded up to 2][kChunk]
  int16_t* w;       // [kTileCols][kChunk]
  int64_t* acc;     // [rows][cols]
  float* sums;      // [rows][cols]: outlier sums
  float* gathered;  // [kWord][cols]: weights of outlier columns, or of one kept column
  float* bias;      // [cols]
  size_t bytes;
};

Scratch Carve(void* memory, size_t rows, size_t cols) {
  size_t used = 0;
  const auto take = [&](size_t bytes) {
    const size_t offset = used;
    used += RoundUp(bytes, 64);
    return offset;
  };
  const size_t x = take(RoundUp(rows, 2) * kChunk * sizeof(int16_t));
  const size_t w = take(kTileCols * kChunk * sizeof(int16_t));
  const size_t acc = take(rows * cols * sizeof(int64_t));
  const size_t sums = take(rows * cols * sizeof(float));
  const size_t gathered = take(kWord * cols * sizeof(float));
  const size_t bias = take(cols * sizeof(float));
  if (memory == nullptr) return {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, used};
  unsigned char* base = static_cast<unsigned char*>(memory);
  return {reinterpret_cast<int16_t*>(base + x),
          reinterpret_cast<int16_t*>(base + w),
          reinterpret_cast<int64_t*>(base + acc),
          reinterpret_cast<float*>(base + sums),
          reinterpret_cast<float*>(base + gathered),
          reinterpret_cast<float*>(base + bias),
          used};
}

size_t BlockScratchBytes(size_t block_rows, size_t block_cols, size_t, size_t) {
  return Carve(nullptr, block_rows, block_cols).bytes;
}

template <class Code>
void WidenCodes(const Code* codes, size_t count, int16_t* __restrict out) {
  for (size_t i = 0; i < count; ++i) out[i] = codes[i];
  for (size_t i = count; i < RoundUp(count, kStep); ++i) out[i] = 0;
}

// acc[r * acc_stride + c] += x[r] . w[c] for `cols` of the four columns. Requires: depth a multiple
// of kStep.
void Tile1x4(const int16_t* x, const int16_t* w, size_t depth, size_t cols, int64_t* acc) {
  const int16_t *w0 = w, *w1 = w + kChunk, *w2 = w + 2 * kChunk, *w3 = w + 3 * kChunk;
  int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
  for (size_t k = 0; k < depth; ++k) {
    a0 += x[k] * w0[k];
    a1 += x[k] * w1[k];
    a2 += x[k] * w2[k];
    a3 += x[k] * w3[k];
  }
  const int32_t sums[kTileCols] = {a0, a1, a2, a3};
  for (size_t c = 0; c < cols; ++c) acc[c] += sums[c];
}

void Tile2x4(const int16_t* x, const int16_t* w, size_t depth, size_t cols, int64_t* acc,
             size_t acc_stride) {
  const int16_t *x0 = x, *x1 = x + kChunk;
  const int16_t *w0 = w, *w1 = w + kChunk, *w2 = w + 2 * kChunk, *w3 = w + 3 * kChunk;
  int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  for (size_t k = 0; k < depth; ++k) {
    a0 += x0[k] * w0[k];
    a1 += x0[k] * w1[k];
    a2 += x0[k] * w2[k];
    a3 += x0[k] * w3[k];
    b0 += x1[k] * w0[k];
    b1 += x1[k] * w1[k];
    b2 += x1[k] * w2[k];
    b3 += x1[k] * w3[k];
  }
  const int32_t first[kTileCols] = {a0, a1, a2, a3};
  const int32_t second[kTileCols] = {b0, b1, b2, b3};
  for (size_t c = 0; c < cols; ++c) {
    acc[c] += first[c];
    acc[acc_stride + c] += second[c];
  }
}

// All tiles of one chunk: x and four rows of w are widened and in cache.
void MultiplyTiles(const Scratch& scratch, size_t rows, size_t cols, size_t col, size_t depth) {
  const size_t tile_cols = Smaller(kTileCols, cols - col);
  size_t r = 0;
  for (; r + 2 <= rows; r += 2) {
    Tile2x4(scratch.x + r * kChunk, scratch.w, depth, tile_cols, scratch.acc + r * cols + col,
            cols);
  }
  if (r < rows)
    Tile1x4(scratch.x + r * kChunk, scratch.w, depth, tile_cols, scratch.acc + r * cols + col);
}

// scratch.acc = the sums of products of the codes as they are stored.
void MultiplyCodes(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                   const Scratch& scratch) {
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const bool is_signed = q.options.activations == Activations::kSymmetric;
  std::memset(scratch.acc, 0, rows * cols * sizeof(int64_t));
  for (size_t begin = 0; begin < linear.in_features; begin += kChunk) {
    const size_t count = Smaller(kChunk, linear.in_features - begin);
    for (size_t r = 0; r < rows; ++r) {
      const uint8_t* codes = q.codes + (block.row_begin + r) * q.code_stride + begin;
      int16_t* out = scratch.x + r * kChunk;
      is_signed ? WidenCodes(reinterpret_cast<const int8_t*>(codes), count, out)
                : WidenCodes(codes, count, out);
    }
    for (size_t col = 0; col < cols; col += kTileCols) {
      for (size_t c = 0; c < kTileCols; ++c) {
        int16_t* out = scratch.w + c * kChunk;
        if (col + c < cols) {
          const size_t n = block.col_begin + col + c;
          WidenCodes(linear.codes + n * linear.in_features + begin, count, out);
        } else {
          std::memset(out, 0, RoundUp(count, kStep) * sizeof(int16_t));  // a tile has four columns
        }
      }
      MultiplyTiles(scratch, rows, cols, col, RoundUp(count, kStep));
    }
  }
}

// scratch.acc = acc of docs/numerics.md, section 4: zero points of both sides taken out.
void MultiplyExactly(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                     const Scratch& scratch) {
  MultiplyCodes(q, linear, block, scratch);
  const size_t cols = block.col_end - block.col_begin;
  for (size_t m = block.row_begin; m < block.row_end; ++m) {
    int64_t* acc = scratch.acc + (m - block.row_begin) * cols;
    const int64_t z = q.zero_point[m];
    const int64_t codes_less_z = q.code_sum[m] - z * static_cast<int64_t>(linear.in_features);
    if (z != 0) {
      for (size_t c = 0; c < cols; ++c) acc[c] -= z * linear.code_sum[block.col_begin + c];
    }
    if (linear.zero_point != nullptr) {
      for (size_t c = 0; c < cols; ++c)
        acc[c] -= codes_less_z * linear.zero_point[block.col_begin + c];
    }
  }
}

// ---- Outliers, kept columns, epilogue ---------------------------------------------------------

void AddProduct(float x, const float* __restrict w, size_t count, float* __restrict sums) {
  for (size_t i = 0; i < count; ++i) sums[i] += x * w[i];
}

// gathered[bit][c] = the weight codes of the columns in `columns` (a word of the mask), less their
// zero point.
void GatherColumns(const LinearView& linear, const Block& block, size_t word, uint64_t columns,
                   float* gathered) {
  const size_t cols = block.col_end - block.col_begin;
  for (size_t c = 0; c < cols; ++c) {
    const size_t n = block.col_begin + c;
    const int32_t zero_point = linear.zero_point != nullptr ? linear.zero_point[n] : 0;
    const int8_t* codes = linear.codes + n * linear.in_features + word * kWord;
    for (uint64_t rest = columns; rest != 0; rest &= rest - 1) {
      const int bit = __builtin_ctzll(rest);
      gathered[static_cast<size_t>(bit) * cols + c] = static_cast<float>(codes[bit] - zero_point);
    }
  }
}

// sums = (sum over the row's own outlier entries, by ascending column) * a. Entries that are not in
// the row's own set are skipped, so that nothing in the block can change it.
void SumOutliers(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                 const Scratch& scratch) {
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  std::memset(scratch.sums, 0, rows * cols * sizeof(float));
  for (size_t w = 0; w < WordsOf(linear.in_features); ++w) {
    uint64_t columns = 0;
    for (size_t m = block.row_begin; m < block.row_end; ++m)
      columns |= q.outlier_mask[m * q.mask_stride + w];
    if (columns == 0) continue;
    GatherColumns(linear, block, w, columns, scratch.gathered);
    for (size_t r = 0; r < rows; ++r) {
      const Elements x = RowOfX(q.x, block.row_begin + r);
      for (uint64_t rest = q.outlier_mask[(block.row_begin + r) * q.mask_stride + w]; rest != 0;
           rest &= rest - 1) {
        const size_t bit = static_cast<size_t>(__builtin_ctzll(rest));
        AddProduct(WidenOne(x, w * kWord + bit), scratch.gathered + bit * cols, cols,
                   scratch.sums + r * cols);
      }
    }
  }
  for (size_t r = 0; r < rows; ++r) {
    float* sums = scratch.sums + r * cols;
    for (size_t c = 0; c < cols; ++c) sums[c] *= linear.multiplier[block.col_begin + c];
  }
}

void AddKeptColumns(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                    const Scratch& scratch) {
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Elements weights{static_cast<const unsigned char*>(linear.kept_weight), linear.kept_type};
  for (size_t j = 0; j < linear.num_kept; ++j) {
    Widen(weights, j * linear.out_features + block.col_begin, cols, scratch.gathered);
    for (size_t r = 0; r < rows; ++r) {
      const float x =
          WidenOne(RowOfX(q.x, block.row_begin + r), static_cast<size_t>(linear.kept_index[j]));
      AddProduct(x, scratch.gathered, cols, scratch.sums + r * cols);
    }
  }
}

void MultiplyBlock(const QuantizedActivations& q, const LinearView& linear, const OutputView& y,
                   const Block& block, void* memory) {
  const FpEnvironment environment;
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Scratch scratch = Carve(memory, rows, cols);
  MultiplyExactly(q, linear, block, scratch);
  SumOutliers(q, linear, block, scratch);
  AddKeptColumns(q, linear, block, scratch);
  if (linear.bias != nullptr) {
    Widen({static_cast<const unsigned char*>(linear.bias), linear.bias_type}, block.col_begin, cols,
          scratch.bias);
  }
  const float* multiplier = linear.multiplier + block.col_begin;
  for (size_t r = 0; r < rows; ++r) {
    const float scale = q.scale[block.row_begin + r];
    const int64_t* acc = scratch.acc + r * cols;
    float* out = scratch.sums + r * cols;
    for (size_t c = 0; c < cols; ++c)
      out[c] = (static_cast<float>(acc[c]) * scale) * multiplier[c] + out[c];
    if (linear.bias != nullptr) {
      for (size_t c = 0; c < cols; ++c) out[c] += scratch.bias[c];
    }
    Narrow(out, cols, y, (block.row_begin + r) * y.row_stride + block.col_begin);
  }
}

void AccumulateBlock(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                     int64_t* acc, size_t acc_stride, void* memory) {
  const FpEnvironment environment;
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Scratch scratch = Carve(memory, rows, cols);
  MultiplyExactly(q, linear, block, scratch);
  for (size_t r = 0; r < rows; ++r) {
    std::memcpy(acc + (block.row_begin + r) * acc_stride + block.col_begin, scratch.acc + r * cols,
                cols * sizeof(int64_t));
  }
}

}  // namespace

constinit const CpuKernels kPortableKernels = {
    .name = "portable",
    .layout = WeightLayout::kPlain,
    .weight_range = RangeOfWeights,
    .encode_symmetric = EncodeSymmetric<PortableWords>,
    .encode_measured = nullptr,
    .encode_zeropoint = EncodeZeropoint<PortableWords>,
    .find_outliers = FindOutliers<PortableWords>,
    .row_ranges = RowRanges<PortableWords>,
    .encode_rows = EncodeRows<PortableWords>,
    .block_shape = nullptr,
    .block_scratch_bytes = BlockScratchBytes,
    .multiply_block = MultiplyBlock,
    .accumulate_block = AccumulateBlock,
};

}  // namespace octavo::kernels
