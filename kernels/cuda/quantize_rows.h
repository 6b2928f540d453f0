// A row of activations to codes, as device functions: for the kernels of quantize_activations.cu
// and for products that quantize by themselves.
//
// Eight neighboring columns, an octet, belong to one thread: one 16-byte load of fp16 or bf16 (two
// of fp32), one byte of every mask, eight bytes of codes. A row is the work of a team of warps,
// which keeps it in registers between range and codes, unless it is very long.
#pragma once

#include <cstdint>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/primitives.h"
#include "kernels/cuda/quantize_activations.h"

namespace octavo::cuda {

inline constexpr int kRowsInFlight = 8;  // of the search for outliers
inline constexpr int kMaxTeamWarps = 16;
// Shared memory for the reductions of a block's teams: two floats for each warp.
inline constexpr int kTeamScratchBytes = 2 * kMaxTeamWarps * 4;

struct Rows {
  const void* x = nullptr;
  int64_t x_stride = 0;  // elements
  int32_t tokens = 0;
  int32_t in_features = 0;
  float threshold = 0;
  bool aligned = false;  // for Aligned types
};

// ---- Eight columns of a row ---------------------------------------------------------------------

// Whether rows stand at multiples of 16 bytes and have whole octets: Aligned<Half> and so on.
struct Half {
  using Bits = uint16_t;
  static constexpr bool kAligned = false;
  static constexpr bool kIsHalf = true;
  OCTAVO_DEVICE static float Widen(uint32_t bits) {
    return HalfToFloat(static_cast<uint16_t>(bits));
  }
};
struct BFloat {
  using Bits = uint16_t;
  static constexpr bool kAligned = false;
  static constexpr bool kIsHalf = false;
  OCTAVO_DEVICE static float Widen(uint32_t bits) {
    return BFloat16ToFloat(static_cast<uint16_t>(bits));
  }
};
struct Single {
  using Bits = uint32_t;
  static constexpr bool kAligned = false;
  OCTAVO_DEVICE static float Widen(uint32_t bits) { return BitsFloat(bits); }
};
template <class Type>
struct Aligned : Type {
  static constexpr bool kAligned = true;
};
template <class Type>
inline constexpr bool kIs16Bit = sizeof(typename Type::Bits) == 2;

// As they lie in memory.
template <class Type>
struct Octet {
  static constexpr int kWords = 2 * sizeof(typename Type::Bits);
  uint32_t words[kWords];

  OCTAVO_DEVICE float at(int i) const {
    if constexpr (kIs16Bit<Type>) {
      return Type::Widen(i % 2 == 0 ? words[i / 2] & 0xffffu : words[i / 2] >> 16);
    } else {
      return Type::Widen(words[i]);
    }
  }
  template <bool kViaHalf>
  OCTAVO_DEVICE float SeenAt(int i) const {
    return Seen(at(i), kViaHalf);
  }
  // Columns with a bit become 0.
  OCTAVO_DEVICE void Clear(uint32_t columns) {
    OCTAVO_UNROLL
    for (int i = 0; i < kWords; ++i) {
      if constexpr (kIs16Bit<Type>) {
        const uint32_t low = (columns >> (2 * i)) & 1u, high = (columns >> (2 * i + 1)) & 1u;
        words[i] &= ~(low * 0x0000ffffu | high * 0xffff0000u);
      } else {
        words[i] &= ((columns >> i) & 1u) - 1u;
      }
    }
  }
};

// Columns from in_features on are 0.
template <class Type>
OCTAVO_DEVICE Octet<Type> LoadOctet(const Rows& rows, int32_t row, int32_t column) {
  using Bits = typename Type::Bits;
  const Bits* const source = static_cast<const Bits*>(rows.x) + row * rows.x_stride + column;
  Octet<Type> octet = {};
  if constexpr (Type::kAligned) {
    if (column >= rows.in_features) return octet;
    OCTAVO_UNROLL
    for (int i = 0; i < Octet<Type>::kWords; i += 4) {
      const Vec16 vec = Load16(reinterpret_cast<const uint32_t*>(source) + i);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) octet.words[i + j] = vec.x[j];
    }
  } else {
    OCTAVO_UNROLL
    for (int i = 0; i < 8; ++i) {
      const uint32_t bits = column + i < rows.in_features ? source[i] : 0;
      if constexpr (kIs16Bit<Type>) {
        octet.words[i / 2] |= bits << (16 * (i % 2));
      } else {
        octet.words[i] = bits;
      }
    }
  }
  return octet;
}

// ---- Outlier columns ----------------------------------------------------------------------------

// The largest magnitudes of eight columns. As integers, magnitudes of a type stand in the order of
// their values, NaN above infinity.
template <class Type, bool kViaHalf>
struct Magnitudes {
  Octet<Type> largest = {};
  uint32_t found = 0;

  OCTAVO_DEVICE void Add(const Octet<Type>& octet, float threshold) {
    if constexpr (kViaHalf) {
      OCTAVO_UNROLL
      for (int i = 0; i < 8; ++i) {
        if (IsOutlier(octet.template SeenAt<true>(i), threshold)) found |= 1u << i;
      }
    } else {
      OCTAVO_UNROLL
      for (int i = 0; i < Octet<Type>::kWords; ++i) {
        if constexpr (kIs16Bit<Type>) {
          largest.words[i] = MaxU16x2(largest.words[i], octet.words[i] & 0x7fff7fffu);
        } else {
          const uint32_t magnitude = octet.words[i] & 0x7fffffffu;
          if (magnitude > largest.words[i]) largest.words[i] = magnitude;
        }
      }
    }
  }
  // Bit i: column i has an outlier entry.
  OCTAVO_DEVICE uint32_t Outliers(float threshold) const {
    uint32_t bits = found;
    if constexpr (!kViaHalf) {
      OCTAVO_UNROLL
      for (int i = 0; i < 8; ++i) {
        if (IsOutlier(largest.at(i), threshold)) bits |= 1u << i;
      }
    }
    return bits;
  }
};

// Which of eight columns have an outlier entry in rows begin, begin + step, ... below end.
template <class Type, bool kViaHalf>
OCTAVO_DEVICE uint32_t FindInOctet(const Rows& rows, int32_t column, int32_t begin, int32_t end,
                                   int32_t step) {
  Magnitudes<Type, kViaHalf> magnitudes;
  for (int32_t row = begin; row < end; row += kRowsInFlight * step) {
    Octet<Type> octets[kRowsInFlight];
    OCTAVO_UNROLL
    for (int r = 0; r < kRowsInFlight; ++r) {
      const int32_t wanted = row + r * step;
      octets[r] = LoadOctet<Type>(rows, wanted < end ? wanted : row, column);
    }
    OCTAVO_UNROLL
    for (int r = 0; r < kRowsInFlight; ++r) magnitudes.Add(octets[r], rows.threshold);
  }
  return magnitudes.Outliers(rows.threshold);
}

// ---- Ranges and codes ---------------------------------------------------------------------------

enum class Step : int32_t {
  kBoth = 0,        // range and codes, one after the other
  kRangeOnly = 1,   // range_lo, range_hi [tokens]
  kEncodeOnly = 2,  // with the ranges of range_lo, range_hi
};

struct Encoding {
  Rows rows;
  Step step = Step::kBoth;
  int32_t row_warps = 1;   // a power of two
  int32_t row_blocks = 1;  // blocks that encode; one more makes the list
  bool symmetric = false;
  bool by_entry = false;         // scope token
  bool range_by_column = false;  // the range leaves out every entry of an outlier column
  uint8_t* parts = nullptr;
  int32_t num_parts = 0;
  int32_t part_bytes = 0;
  bool shared_mask = false;
  const uint8_t* kept = nullptr;  // [part_bytes], null: none
  uint8_t* codes = nullptr;
  int32_t code_stride = 0;
  float* scale = nullptr;
  int32_t* zero_point = nullptr;
  int32_t* code_sum = nullptr;
  float* range_lo = nullptr;
  float* range_hi = nullptr;
  int32_t* outlier_columns = nullptr;
  int32_t* num_outlier_columns = nullptr;
};

// Host: the encoding of a call, for blocks that the caller arranges.
Encoding EncodingOf(const QuantizeCall& call);

// Every row searched by this block; a byte of the mask for eight columns. The caller synchronizes.
// Loads are under way together: of several octets where there is one row, else of several rows.
template <class Type, bool kViaHalf>
OCTAVO_DEVICE void FindInRows(const Encoding& e, uint8_t* mask, int threads) {
  const auto note = [&](int32_t index, const Magnitudes<Type, kViaHalf>& magnitudes) {
    mask[index] = static_cast<uint8_t>(magnitudes.Outliers(e.rows.threshold));
  };
  if (e.rows.tokens > 1) {
    for (int32_t index = ThreadIdx(); index < e.part_bytes; index += threads) {
      Magnitudes<Type, kViaHalf> magnitudes;
      for (int32_t row = 0; row < e.rows.tokens; row += kRowsInFlight) {
        Octet<Type> octets[kRowsInFlight] = {};
        OCTAVO_UNROLL
        for (int i = 0; i < kRowsInFlight; ++i) {
          if (row + i < e.rows.tokens) octets[i] = LoadOctet<Type>(e.rows, row + i, 8 * index);
        }
        OCTAVO_UNROLL
        for (int i = 0; i < kRowsInFlight; ++i) magnitudes.Add(octets[i], e.rows.threshold);
      }
      note(index, magnitudes);
    }
    return;
  }
  for (int32_t first = ThreadIdx(); first < e.part_bytes; first += kRowsInFlight * threads) {
    Octet<Type> octets[kRowsInFlight] = {};
    OCTAVO_UNROLL
    for (int i = 0; i < kRowsInFlight; ++i) {
      const int32_t index = first + i * threads;
      if (index < e.part_bytes) octets[i] = LoadOctet<Type>(e.rows, 0, 8 * index);
    }
    OCTAVO_UNROLL
    for (int i = 0; i < kRowsInFlight; ++i) {
      Magnitudes<Type, kViaHalf> magnitudes;
      magnitudes.Add(octets[i], e.rows.threshold);
      if (first + i * threads < e.part_bytes) note(first + i * threads, magnitudes);
    }
  }
}

OCTAVO_DEVICE uint32_t KeptByte(const Encoding& e, int32_t index) {
  return e.kept != nullptr ? e.kept[index] : 0;
}

// Bytes of shared memory for CombineParts with so many threads.
inline constexpr int32_t CombinedMaskBytes(int32_t part_bytes, int32_t threads) {
  return part_bytes > 16 * threads ? part_bytes : 16 * threads;
}

// The union of the parts, at `mask`. part_bytes is a multiple of 16. Where there are threads for
// several parts at once, they leave their unions behind each other first.
OCTAVO_DEVICE void CombineParts(const Encoding& e, uint8_t* mask, int threads) {
  const int32_t vectors = e.part_bytes / 16;
  const auto combine = [&](const uint8_t* source, int32_t offset, int32_t first, int32_t count,
                           int32_t step) {
    Vec16 combined = {{0, 0, 0, 0}};
    OCTAVO_UNROLL_BY(8)
    for (int32_t p = first; p < count; p += step) {
      const Vec16 part = Load16(source + int64_t{p} * e.part_bytes + offset);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) combined.x[j] |= part.x[j];
    }
    return combined;
  };
  const int32_t groups = vectors == 0 || vectors >= threads ? 1 : threads / vectors;
  for (int32_t i = ThreadIdx(); i < groups * vectors; i += threads) {
    const int32_t group = i / vectors, offset = 16 * (i % vectors);
    *reinterpret_cast<Vec16*>(mask + 16 * i) = combine(e.parts, offset, group, e.num_parts, groups);
  }
  BlockSync();
  if (groups > 1) {
    if (ThreadIdx() < vectors) {
      const int32_t offset = 16 * ThreadIdx();
      *reinterpret_cast<Vec16*>(mask + offset) = combine(mask, offset, 0, groups, 1);
    }
    BlockSync();
  }
}

// The columns of the mask less the kept ones, ascending, by one warp; 32 columns to a lane at a
// time.
OCTAVO_DEVICE void ListOutlierColumns(const Encoding& e, const uint8_t* mask) {
  const int32_t num_words = e.part_bytes / 4;
  int32_t count = 0;
  for (int32_t begin = 0; begin < num_words; begin += 32) {
    const int32_t index = begin + LaneIdx();
    uint32_t word = 0;
    if (index < num_words) {
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i)
        word |= (mask[4 * index + i] & ~KeptByte(e, 4 * index + i)) << (8 * i);
    }
    if (Ballot(word != 0) == 0) continue;
    int32_t before = PopCount(word);  // inclusive prefix sum over the lanes
    OCTAVO_UNROLL
    for (int distance = 1; distance < 32; distance *= 2) {
      const int lane = LaneIdx() - distance;
      const int32_t other = Shuffle(before, lane < 0 ? 0 : lane);
      if (lane >= 0) before += other;
    }
    int32_t position = count + before - PopCount(word);
    for (; word != 0; word &= word - 1) {
      const int bit = PopCount((word & (0u - word)) - 1);
      e.outlier_columns[position++] = 32 * index + bit;
    }
    count += Shuffle(before, 31);
  }
  if (LaneIdx() == 0) *e.num_outlier_columns = count;
}

// The warps of one row, and what they share of the block's scratch memory.
struct Team {
  int32_t warps;
  int32_t first_warp;  // in the block
  int32_t warp;        // this one, in the block
  int32_t lane;        // 0 .. 32 * warps - 1
  int32_t barrier;     // its named barrier
  float* scratch;      // [2 * warps of the block], two for each warp

  // The team of this warp, where every team of the block has so many warps.
  OCTAVO_DEVICE static Team Make(int32_t warps, int32_t warp, float* scratch) {
    const int32_t index = warp / warps;
    return {warps, index * warps, warp, ThreadIdx() - 32 * index * warps, 1 + index, scratch};
  }
  OCTAVO_DEVICE int32_t index() const { return barrier - 1; }
  OCTAVO_DEVICE void Sync() const { NamedSync(barrier, 32 * warps); }

  // Over the team, whose threads all call it, of lo <= 0 and hi >= 0: lo becomes the smallest, hi
  // the largest. Bits of numbers from 0 on stand in the order of the numbers.
  OCTAVO_DEVICE void ReduceRange(float* lo, float* hi) const {
    uint32_t below = WarpMax(FloatBits(SubRn(0.0f, *lo)));
    uint32_t above = WarpMax(FloatBits(AddRn(*hi, 0.0f)));
    if (warps > 1) {
      uint32_t* const words = reinterpret_cast<uint32_t*>(scratch);
      if (LaneIdx() == 0) {
        words[2 * warp] = below;
        words[2 * warp + 1] = above;
      }
      Sync();
      for (int32_t w = first_warp; w < first_warp + warps; ++w) {
        if (words[2 * w] > below) below = words[2 * w];
        if (words[2 * w + 1] > above) above = words[2 * w + 1];
      }
      Sync();
    }
    *lo = -BitsFloat(below);
    *hi = BitsFloat(above);
  }
  OCTAVO_DEVICE int32_t ReduceSum(int32_t sum) const {
    sum = WarpSum(sum);
    if (warps == 1) return sum;
    int32_t* const sums = reinterpret_cast<int32_t*>(scratch);
    if (LaneIdx() == 0) sums[2 * warp] = sum;
    Sync();
    sum = 0;
    for (int32_t w = first_warp; w < first_warp + warps; ++w) sum += sums[2 * w];
    Sync();
    return sum;
  }
};

// The range of values that no mask concerns.
template <class Type, bool kViaHalf>
struct PlainRange {
  uint32_t low_pair = 0, high_pair = 0;
  float lo = 0, hi = 0;

  OCTAVO_DEVICE void Add(const Octet<Type>& octet) {
    if constexpr (kIs16Bit<Type> && !kViaHalf) {
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) {
        low_pair = MinPair<Type::kIsHalf>(low_pair, octet.words[i]);
        high_pair = MaxPair<Type::kIsHalf>(high_pair, octet.words[i]);
      }
    } else {
      OCTAVO_UNROLL
      for (int i = 0; i < 8; ++i) AddValue(octet.template SeenAt<kViaHalf>(i));
    }
  }
  OCTAVO_DEVICE void AddValue(float value) {
    lo = MinF(lo, value);
    hi = MaxF(hi, value);
  }
  OCTAVO_DEVICE void Close() {
    if constexpr (kIs16Bit<Type> && !kViaHalf) {
      AddValue(Type::Widen(low_pair & 0xffffu));
      AddValue(Type::Widen(low_pair >> 16));
      AddValue(Type::Widen(high_pair & 0xffffu));
      AddValue(Type::Widen(high_pair >> 16));
    }
  }
};

struct alignas(8) EightCodes {
  uint32_t words[2];

  // The others become 0.
  OCTAVO_DEVICE void KeepFirst(int32_t count) {
    OCTAVO_UNROLL
    for (int i = 0; i < 8; ++i) {
      if (i >= count) words[i / 4] &= ~(0xffu << (8 * (i % 4)));
    }
  }
};

// Section 3: clamp(rne(x * inverse_step) + zero_point, low, high) of eight values within the grid's
// range. Adding 1.5 * 2^23 rounds to nearest even and leaves the integer in the lowest bits. Of
// symmetric codes none needs clamping: x * inverse_step is below 127.5 in magnitude.
template <class Type, bool kViaHalf>
OCTAVO_DEVICE EightCodes EncodeOctet(const Octet<Type>& octet, const RowGrid& grid,
                                     bool symmetric) {
  const uint32_t shift = static_cast<uint32_t>(grid.zero_point) - FloatBits(0x1.8p23f);
  EightCodes codes;
  OCTAVO_UNROLL
  for (int i = 0; i < 2; ++i) {
    int32_t code[4];
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      const float value = MulRn(octet.template SeenAt<kViaHalf>(4 * i + j), grid.inverse_step);
      code[j] = static_cast<int32_t>(FloatBits(AddRn(value, 0x1.8p23f)) + shift);
    }
    codes.words[i] = symmetric ? PackSaturated<true>(code) : PackSaturated<false>(code);
  }
  return codes;
}

// Bits of the octet's own outlier entries.
template <class Type, bool kViaHalf>
OCTAVO_DEVICE uint32_t OutlierEntries(const Octet<Type>& octet, float threshold) {
  uint32_t bits = 0;
  OCTAVO_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (IsOutlier(octet.template SeenAt<kViaHalf>(i), threshold)) bits |= 1u << i;
  }
  return bits;
}

// Range and codes of a row, whose octets its team holds in registers from the load on, kHeld for
// each thread; what does not fit is loaded again for the codes. `mask`: bit k % 8 of byte k / 8,
// the outlier columns. has_row: of a team without one, the threads only keep the others company.
template <class Type, bool kViaHalf, int kHeld>
struct RowEncoder {
  const Encoding& e;
  const Team& team;
  const uint8_t* mask;
  Octet<Type> held[kHeld];

  // Before the mask is known.
  OCTAVO_DEVICE void Load(int32_t row, bool has_row) {
    OCTAVO_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      held[i] = {};
      const int32_t index = IndexOf(i);
      if (has_row && index < e.part_bytes) held[i] = LoadOctet<Type>(e.rows, row, 8 * index);
    }
  }

  // Where this row is the only one, and held as a whole: what the mask is. The caller synchronizes.
  OCTAVO_DEVICE void MarkOutliers(uint8_t* own_mask) const {
    OCTAVO_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (IndexOf(i) < e.part_bytes)
        own_mask[IndexOf(i)] = static_cast<uint8_t>(OwnEntries(held[i]));
    }
  }

  OCTAVO_DEVICE void Run(int32_t row, bool has_row) {
    PlainRange<Type, kViaHalf> range;
    if (e.step != Step::kEncodeOnly) {
      range = RangeOf(row, has_row);
    } else if (has_row) {
      range.lo = e.range_lo[row];
      range.hi = e.range_hi[row];
    }
    if (e.step != Step::kRangeOnly) {
      Encode(row, has_row, MakeRowGrid(range.lo, range.hi, e.symmetric));
    } else if (has_row && team.lane == 0) {
      e.range_lo[row] = range.lo;
      e.range_hi[row] = range.hi;
    }
  }

  OCTAVO_DEVICE int32_t IndexOf(int i) const { return team.lane + i * 32 * team.warps; }

  // Calls body(index, octet) for this thread's octets: first those that it holds.
  template <class Body>
  OCTAVO_DEVICE void ForOctets(int32_t row, Body&& body) {
    OCTAVO_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (IndexOf(i) < e.part_bytes) body(IndexOf(i), held[i]);
    }
    constexpr int kInFlight = 4;
    const int32_t threads = 32 * team.warps;
    for (int32_t first = IndexOf(kHeld); first < e.part_bytes; first += kInFlight * threads) {
      Octet<Type> octets[kInFlight] = {};
      OCTAVO_UNROLL
      for (int i = 0; i < kInFlight; ++i) {
        const int32_t index = first + i * threads;
        if (index < e.part_bytes) octets[i] = LoadOctet<Type>(e.rows, row, 8 * index);
      }
      OCTAVO_UNROLL
      for (int i = 0; i < kInFlight; ++i) {
        const int32_t index = first + i * threads;
        if (index < e.part_bytes) body(index, octets[i]);
      }
    }
  }

  OCTAVO_DEVICE uint32_t OwnEntries(const Octet<Type>& octet) const {
    return OutlierEntries<Type, kViaHalf>(octet, e.rows.threshold);
  }

  // Clears in an octet what the range leaves out: 0 is in every range.
  OCTAVO_DEVICE PlainRange<Type, kViaHalf> RangeOf(int32_t row, bool has_row) {
    PlainRange<Type, kViaHalf> range;
    if (has_row) {
      ForOctets(row, [&](int32_t index, Octet<Type>& octet) {
        const uint32_t outlier = mask[index], kept = KeptByte(e, index);
        if ((outlier | kept) != 0)
          octet.Clear(kept | (e.range_by_column ? outlier : OwnEntries(octet)));
        range.Add(octet);
      });
    }
    range.Close();
    team.ReduceRange(&range.lo, &range.hi);
    return range;
  }

  OCTAVO_DEVICE void Encode(int32_t row, bool has_row, const RowGrid& grid) {
    int32_t sum = 0;
    if (has_row) {
      ForOctets(row, [&](int32_t index, Octet<Type>& octet) {
        // Entries of G have the code that stands for 0.
        const uint32_t outlier = mask[index], kept = KeptByte(e, index);
        if ((outlier | kept) != 0) octet.Clear(kept | (e.by_entry ? OwnEntries(octet) : outlier));
        EightCodes codes = EncodeOctet<Type, kViaHalf>(octet, grid, e.symmetric);
        const int32_t exist = e.rows.in_features - 8 * index;
        if (exist < 8) codes.KeepFirst(exist);
        OCTAVO_UNROLL
        for (int j = 0; j < 2; ++j) {
          sum = e.symmetric ? SumBytes<true>(codes.words[j], sum)
                            : SumBytes<false>(codes.words[j], sum);
        }
        *reinterpret_cast<EightCodes*>(e.codes + int64_t{row} * e.code_stride + 8 * index) = codes;
      });
    }
    sum = team.ReduceSum(sum);
    if (has_row && team.lane == 0) {
      e.scale[row] = grid.scale;
      e.zero_point[row] = grid.zero_point;
      e.code_sum[row] = sum;
    }
  }
};

}  // namespace octavo::cuda
