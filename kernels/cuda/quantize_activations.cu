// Activations to codes: in which columns an outlier entry stands; each row's range; its codes.
//
// Many rows take two launches: FindOutliersKernel, then EncodeRowsKernel. X is read from memory
// once and, where it is larger than the L2 cache, a second time. Few rows take one launch, in which
// every block searches all of them by itself and encodes one.
//
// Eight neighboring columns belong to one thread: one 16-byte load of fp16 or bf16 (two of fp32),
// one byte of every mask, eight bytes of codes. A row is the work of a team of warps, which keeps
// it in registers between range and codes. Octets without an outlier or kept column, nearly all of
// them, take a short way.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/carver.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize_activations.h"

namespace octavo::cuda {
namespace {

// FindOutliersKernel: a block has 64 octets side by side and 8 groups of rows.
constexpr int kFindOctets = 64;
constexpr int kFindGroups = 8;
constexpr int kFindThreads = kFindOctets * kFindGroups;
constexpr int kFindUnroll = 8;  // rows in flight
constexpr int32_t kMaxParts = 32;
constexpr int kEncodeWarps = 8;
constexpr int kFewWarps = 16;
// Up to here one launch is the faster one: every block reads all of X.
constexpr int32_t kMaxFewRows = 16;
constexpr int64_t kMaxFewElements = 128 << 10;
// Masks up to this size are put together once for each block, in shared memory.
constexpr int64_t kMaxSharedMaskBytes = 16 << 10;
// Shared memory of a block: floats for reductions, then the mask.
constexpr size_t kScratchBytes = 2 * kFewWarps * sizeof(float);

struct Rows {
  const void* x = nullptr;
  int64_t x_stride = 0;  // elements
  int32_t tokens = 0;
  int32_t in_features = 0;
  float threshold = 0;
  bool aligned = false;  // 16-byte loads are possible
};

// ---- Eight columns of a row ---------------------------------------------------------------------

struct Half {
  using Bits = uint16_t;
  static constexpr bool kIsHalf = true;
  OCTAVO_DEVICE static float Widen(uint32_t bits) {
    return HalfToFloat(static_cast<uint16_t>(bits));
  }
};
struct BFloat {
  using Bits = uint16_t;
  static constexpr bool kIsHalf = false;
  OCTAVO_DEVICE static float Widen(uint32_t bits) {
    return BFloat16ToFloat(static_cast<uint16_t>(bits));
  }
};
struct Single {
  using Bits = uint32_t;
  OCTAVO_DEVICE static float Widen(uint32_t bits) { return BitsFloat(bits); }
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
};

// Columns from in_features on are read as 0.
template <class Type>
OCTAVO_DEVICE Octet<Type> LoadOctet(const Rows& rows, int32_t row, int32_t column) {
  using Bits = typename Type::Bits;
  Octet<Type> octet;
  const Bits* const source = static_cast<const Bits*>(rows.x) + row * rows.x_stride + column;
  if (rows.aligned && column + 8 <= rows.in_features) {
    OCTAVO_UNROLL
    for (int i = 0; i < Octet<Type>::kWords; i += 4) {
      const Vec16 vec = Load16(reinterpret_cast<const uint32_t*>(source) + i);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) octet.words[i + j] = vec.x[j];
    }
    return octet;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Octet<Type>::kWords; ++i) octet.words[i] = 0;
  OCTAVO_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (column + i >= rows.in_features) continue;
    const uint32_t bits = source[i];
    if constexpr (kIs16Bit<Type>) {
      octet.words[i / 2] |= bits << (16 * (i % 2));
    } else {
      octet.words[i] = bits;
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
  for (int32_t row = begin; row < end; row += kFindUnroll * step) {
    Octet<Type> octets[kFindUnroll];
    OCTAVO_UNROLL
    for (int r = 0; r < kFindUnroll; ++r) {
      const int32_t wanted = row + r * step;
      octets[r] = LoadOctet<Type>(rows, wanted < end ? wanted : row, column);
    }
    OCTAVO_UNROLL
    for (int r = 0; r < kFindUnroll; ++r) magnitudes.Add(octets[r], rows.threshold);
  }
  return magnitudes.Outliers(rows.threshold);
}

// Block (i, p): kFindOctets octets, the p-th of grid_y parts of the rows. Writes
// parts[p][column / 8]; every byte is written, so nothing need be cleared before.
template <class Type, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kFindThreads, 1)
    FindOutliersKernel(Rows rows, uint8_t* parts, int32_t part_bytes) {
  AllowNextKernel();
  uint8_t* const found = SharedMemory();  // [kFindGroups][kFindOctets]
  const int octet = ThreadIdx() % kFindOctets, group = ThreadIdx() / kFindOctets;
  const int32_t index = BlockX() * kFindOctets + octet;
  const int32_t begin = static_cast<int32_t>(int64_t{rows.tokens} * BlockY() / GridY());
  const int32_t end = static_cast<int32_t>(int64_t{rows.tokens} * (BlockY() + 1) / GridY());
  WaitForPreviousKernel();
  uint32_t bits = 0;
  if (index < part_bytes)
    bits = FindInOctet<Type, kViaHalf>(rows, 8 * index, begin + group, end, kFindGroups);
  found[ThreadIdx()] = static_cast<uint8_t>(bits);
  BlockSync();
  if (group != 0 || index >= part_bytes) return;
  OCTAVO_UNROLL
  for (int g = 1; g < kFindGroups; ++g) bits |= found[g * kFindOctets + octet];
  parts[int64_t{BlockY()} * part_bytes + index] = static_cast<uint8_t>(bits);
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
  const uint8_t* parts = nullptr;
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

// Eight columns' bits: of the combined mask where there is one.
OCTAVO_DEVICE uint32_t OutlierByte(const Encoding& e, const uint8_t* mask, int32_t index) {
  if (mask != nullptr) return mask[index];
  uint32_t byte = 0;
  for (int32_t p = 0; p < e.num_parts; ++p) byte |= e.parts[int64_t{p} * e.part_bytes + index];
  return byte;
}
OCTAVO_DEVICE uint32_t KeptByte(const Encoding& e, int32_t index) {
  return e.kept != nullptr ? e.kept[index] : 0;
}

// The union of the parts, to shared memory. part_bytes is a multiple of 16.
OCTAVO_DEVICE void CombineParts(const Encoding& e, uint8_t* mask, int threads) {
  for (int32_t i = 16 * ThreadIdx(); i < e.part_bytes; i += 16 * threads) {
    Vec16 combined = {{0, 0, 0, 0}};
    OCTAVO_UNROLL_BY(8)
    for (int32_t p = 0; p < e.num_parts; ++p) {
      const Vec16 part = Load16(e.parts + int64_t{p} * e.part_bytes + i);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) combined.x[j] |= part.x[j];
    }
    *reinterpret_cast<Vec16*>(mask + i) = combined;
  }
  BlockSync();
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
        word |= (OutlierByte(e, mask, 4 * index + i) & ~KeptByte(e, 4 * index + i)) << (8 * i);
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
    for (int i = 0; i < 32; ++i) {
      if ((word >> i) & 1u) e.outlier_columns[position++] = 32 * index + i;
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
  float* scratch;      // [2 * warps of the block], two for each warp

  OCTAVO_DEVICE void Sync() const { NamedSync(1 + first_warp / warps, 32 * warps); }

  // Over the team, whose threads all call it: lo becomes the smallest, hi the largest.
  OCTAVO_DEVICE void ReduceRange(float* lo, float* hi) const {
    OCTAVO_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) {
      *lo = MinF(*lo, ShuffleXor(*lo, mask));
      *hi = MaxF(*hi, ShuffleXor(*hi, mask));
    }
    if (warps == 1) return;
    if (LaneIdx() == 0) {
      scratch[2 * warp] = *lo;
      scratch[2 * warp + 1] = *hi;
    }
    Sync();
    for (int32_t w = first_warp; w < first_warp + warps; ++w) {
      *lo = MinF(*lo, scratch[2 * w]);
      *hi = MaxF(*hi, scratch[2 * w + 1]);
    }
    Sync();
  }
  OCTAVO_DEVICE int32_t ReduceSum(int32_t sum) const {
    OCTAVO_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) sum += ShuffleXor(sum, mask);
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

// Codes of eight values, none of them in G: EncodeValue in fewer instructions. Clamping to integers
// and rounding may change places; adding 1.5 * 2^23 rounds to nearest even and leaves the integer
// in the lowest bits.
template <class Type, bool kViaHalf>
OCTAVO_DEVICE void EncodePlain(const Octet<Type>& octet, const RowGrid& grid,
                               uint32_t (&packed)[2]) {
  const float low = IntToFloat(grid.low - grid.zero_point);
  const float high = IntToFloat(grid.high - grid.zero_point);
  const uint32_t zero_points = static_cast<uint32_t>(grid.zero_point) * 0x01010101u;
  OCTAVO_UNROLL
  for (int i = 0; i < 2; ++i) {
    uint32_t code[4];
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      const float value = MulRn(octet.template SeenAt<kViaHalf>(4 * i + j), grid.inverse_step);
      code[j] = FloatBits(AddRn(MinF(MaxF(value, low), high), 0x1.8p23f));
    }
    const uint32_t bytes =
        PickBytes(PickBytes(code[0], code[1], 0x0040), PickBytes(code[2], code[3], 0x0040), 0x5410);
    packed[i] = AddBytes(bytes, zero_points);
  }
}

template <class Type, int kOctets, bool kViaHalf>
OCTAVO_DEVICE void EncodeRow(const Encoding& e, const Team& team, const uint8_t* mask, int32_t row,
                             bool has_row) {
  // kOctets = 0: longer rows than registers hold; read twice.
  constexpr int kHeld = kOctets == 0 ? 1 : kOctets;
  const int32_t threads = 32 * team.warps;
  const int32_t num_octets = has_row ? e.part_bytes : 0;
  const int32_t rounds = kOctets == 0 ? (num_octets + threads - 1) / threads : kOctets;
  Octet<Type> held[kHeld] = {};
  const auto index_of = [&](int32_t i) { return i * threads + team.lane; };
  const auto load = [&](int32_t i) -> const Octet<Type>& {
    if constexpr (kOctets == 0) {
      held[0] = LoadOctet<Type>(e.rows, row, 8 * index_of(i));
      return held[0];
    } else {
      return held[i];
    }
  };
  if constexpr (kOctets > 0) {
    OCTAVO_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (index_of(i) < num_octets) held[i] = LoadOctet<Type>(e.rows, row, 8 * index_of(i));
    }
  }

  PlainRange<Type, kViaHalf> range;
  if (e.step == Step::kEncodeOnly) {
    if (has_row) {
      range.lo = e.range_lo[row];
      range.hi = e.range_hi[row];
    }
  } else {
    OCTAVO_UNROLL
    for (int i = 0; i < rounds; ++i) {
      const int32_t index = index_of(i);
      if (index >= num_octets) continue;
      const Octet<Type>& octet = load(i);
      const uint32_t outlier = OutlierByte(e, mask, index), kept = KeptByte(e, index);
      if ((outlier | kept) == 0) {
        range.Add(octet);
        continue;
      }
      const uint32_t excluded = kept | (e.range_by_column ? outlier : 0);
      OCTAVO_UNROLL
      for (int j = 0; j < 8; ++j) {
        const float value = octet.template SeenAt<kViaHalf>(j);
        if (!((excluded >> j) & 1u) && !IsOutlier(value, e.rows.threshold)) range.AddValue(value);
      }
    }
    range.Close();
    team.ReduceRange(&range.lo, &range.hi);
  }
  if (e.step == Step::kRangeOnly) {
    if (has_row && team.lane == 0) {
      e.range_lo[row] = range.lo;
      e.range_hi[row] = range.hi;
    }
    return;
  }

  const RowGrid grid = MakeRowGrid(range.lo, range.hi, e.symmetric);
  int32_t sum = 0;
  OCTAVO_UNROLL
  for (int i = 0; i < rounds; ++i) {
    const int32_t index = index_of(i);
    if (index >= num_octets) continue;
    const Octet<Type>& octet = load(i);
    const uint32_t outlier = OutlierByte(e, mask, index), kept = KeptByte(e, index);
    uint32_t packed[2] = {0, 0};
    if ((outlier | kept) == 0 && 8 * index + 8 <= e.rows.in_features) {
      EncodePlain<Type, kViaHalf>(octet, grid, packed);
    } else {
      const uint32_t excluded = kept | (e.by_entry ? 0 : outlier);
      OCTAVO_UNROLL
      for (int j = 0; j < 8; ++j) {
        float value = octet.template SeenAt<kViaHalf>(j);
        if (((excluded >> j) & 1u) || IsOutlier(value, e.rows.threshold)) value = 0;
        // Past in_features stands 0, whatever the code of the value 0 is.
        const int32_t code = 8 * index + j < e.rows.in_features ? EncodeValue(value, grid) : 0;
        packed[j / 4] |= (static_cast<uint32_t>(code) & 0xffu) << (8 * (j % 4));
      }
    }
    OCTAVO_UNROLL
    for (int j = 0; j < 2; ++j)
      sum = e.symmetric ? SumBytes<true>(packed[j], sum) : SumBytes<false>(packed[j], sum);
    struct alignas(8) EightCodes {
      uint32_t words[2];
    };
    *reinterpret_cast<EightCodes*>(e.codes + int64_t{row} * e.code_stride + 8 * index) =
        EightCodes{{packed[0], packed[1]}};
  }
  sum = team.ReduceSum(sum);
  if (has_row && team.lane == 0) {
    e.scale[row] = grid.scale;
    e.zero_point[row] = grid.zero_point;
    e.code_sum[row] = sum;
  }
}

// Blocks 0 .. row_blocks - 1 take as many rows at a time as they have teams; one more lists the
// outlier columns.
template <class Type, int kOctets, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(32 * kEncodeWarps, 2) EncodeRowsKernel(Encoding e) {
  AllowNextKernel();
  WaitForPreviousKernel();
  float* const scratch = reinterpret_cast<float*>(SharedMemory());
  uint8_t* const shared_mask = SharedMemory() + kScratchBytes;
  const uint8_t* const mask = e.shared_mask ? shared_mask : nullptr;
  const int32_t warp = WarpIdx();
  if (e.shared_mask) CombineParts(e, shared_mask, 32 * kEncodeWarps);
  if (BlockX() == e.row_blocks) {
    if (e.step != Step::kRangeOnly && warp == 0) ListOutlierColumns(e, mask);
    return;
  }
  const int32_t teams = kEncodeWarps / e.row_warps, first_warp = warp / e.row_warps * e.row_warps;
  const Team team{e.row_warps, first_warp, warp, ThreadIdx() - 32 * first_warp, scratch};
  for (int64_t begin = int64_t{BlockX()} * teams; begin < e.rows.tokens;
       begin += int64_t{e.row_blocks} * teams) {
    const int64_t row = begin + first_warp / e.row_warps;
    EncodeRow<Type, kOctets, kViaHalf>(e, team, mask, static_cast<int32_t>(row),
                                       row < e.rows.tokens);
  }
}

// Few rows in one launch: every block searches all rows, block i < tokens encodes row i, and the
// last block lists the outlier columns.
template <class Type, int kOctets, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(32 * kFewWarps, 1) QuantizeFewKernel(Encoding e) {
  AllowNextKernel();
  WaitForPreviousKernel();
  float* const scratch = reinterpret_cast<float*>(SharedMemory());
  uint8_t* const mask = SharedMemory() + kScratchBytes;
  for (int32_t index = ThreadIdx(); index < e.part_bytes; index += 32 * kFewWarps) {
    mask[index] =
        static_cast<uint8_t>(FindInOctet<Type, kViaHalf>(e.rows, 8 * index, 0, e.rows.tokens, 1));
  }
  BlockSync();
  const int32_t warp = WarpIdx();
  if (BlockX() < e.rows.tokens) {
    const Team team{kFewWarps, 0, warp, ThreadIdx(), scratch};
    EncodeRow<Type, kOctets, kViaHalf>(e, team, mask, BlockX(), true);
  } else if (warp == 0) {
    ListOutlierColumns(e, mask);
  }
}

// One range over all rows: methods tensor-wise and zeropoint-tensor. One block.
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(32 * kEncodeWarps, 1)
    MergeRangesKernel(float* range_lo, float* range_hi, int32_t tokens) {
  AllowNextKernel();
  WaitForPreviousKernel();
  constexpr int32_t kThreads = 32 * kEncodeWarps;
  float lo = 0, hi = 0;
  for (int32_t row = ThreadIdx(); row < tokens; row += kThreads) {
    lo = MinF(lo, range_lo[row]);
    hi = MaxF(hi, range_hi[row]);
  }
  const Team team{kEncodeWarps, 0, WarpIdx(), ThreadIdx(),
                  reinterpret_cast<float*>(SharedMemory())};
  team.ReduceRange(&lo, &hi);
  for (int32_t row = ThreadIdx(); row < tokens; row += kThreads) {
    range_lo[row] = lo;
    range_hi[row] = hi;
  }
}

// ---- Host ---------------------------------------------------------------------------------------

// The octets of a row that one thread holds, as a constant for `body`.
template <class Body>
CudaStatus WithOctets(int32_t octets, Body&& body) {
  switch (octets) {
    case 1:
      return body(std::integral_constant<int, 1>());
    case 2:
      return body(std::integral_constant<int, 2>());
    case 4:
      return body(std::integral_constant<int, 4>());
    case 8:
      return body(std::integral_constant<int, 8>());
    default:
      return body(std::integral_constant<int, 0>());
  }
}

// The fewest of these that hold a row over so many warps; 0 where eight are too few.
int32_t OctetsFor(int32_t num_octets, int32_t warps) {
  for (const int32_t octets : {1, 2, 4, 8}) {
    if (num_octets <= 32 * warps * octets) return octets;
  }
  return 0;
}

// Warps for each row: as few as hold it, more where rows are too few to fill the device.
int32_t RowWarps(int32_t num_octets, int32_t tokens, int32_t multiprocessors) {
  int32_t warps = 1;
  while (warps < kEncodeWarps && OctetsFor(num_octets, warps) == 0) warps *= 2;
  while (warps < kEncodeWarps && int64_t{tokens} * warps < 16 * multiprocessors &&
         num_octets > 32 * warps)
    warps *= 2;
  return warps;
}

Rows RowsOf(const QuantizeCall& call, size_t element_bytes) {
  Rows rows;
  rows.x = call.x.data;
  rows.x_stride = static_cast<int64_t>(call.x.row_stride);
  rows.tokens = static_cast<int32_t>(call.x.tokens);
  rows.in_features = static_cast<int32_t>(call.x.in_features);
  rows.threshold = call.threshold;
  rows.aligned = reinterpret_cast<uintptr_t>(call.x.data) % 16 == 0 &&
                 call.x.row_stride * element_bytes % 16 == 0;
  return rows;
}

Encoding EncodingOf(const QuantizeCall& call, const Rows& rows) {
  const QuantizePieces& pieces = call.pieces;
  Encoding e;
  e.rows = rows;
  e.symmetric = call.options.activations == Activations::kSymmetric;
  e.by_entry = call.options.scope == kernels::Scope::kToken;
  e.range_by_column = !e.by_entry && call.options.row_rule == kernels::RowRule::kInlierColumns;
  e.parts = pieces.parts;
  e.num_parts = static_cast<int32_t>(pieces.num_parts);
  e.part_bytes = static_cast<int32_t>(pieces.part_bytes);
  e.shared_mask = e.part_bytes <= kMaxSharedMaskBytes;
  e.kept = reinterpret_cast<const uint8_t*>(call.kept.count == 0 ? nullptr : call.kept.mask);
  e.codes = pieces.codes;
  e.code_stride = static_cast<int32_t>(kernels::CudaCodeStride(call.x.in_features));
  e.scale = pieces.scale;
  e.zero_point = pieces.zero_point;
  e.code_sum = pieces.code_sum;
  e.range_lo = pieces.range_lo;
  e.range_hi = pieces.range_hi;
  e.outlier_columns = pieces.outlier_columns;
  e.num_outlier_columns = pieces.num_outlier_columns;
  return e;
}

template <class Type, bool kViaHalf>
CudaStatus RunFew(const Encoding& e, void* stream) {
  LaunchConfig config;
  config.grid_x = static_cast<uint32_t>(e.rows.tokens + 1);
  config.threads = 32 * kFewWarps;
  config.shared_bytes = kScratchBytes + static_cast<size_t>(e.part_bytes);
  config.overlap = true;
  return WithOctets(OctetsFor(e.part_bytes, kFewWarps), [&](auto octets) {
    return Launch(config, stream, QuantizeFewKernel<Type, octets(), kViaHalf>, e);
  });
}

template <class Type, bool kViaHalf>
CudaStatus Run(const QuantizeCall& call, void* stream) {
  const Rows rows = RowsOf(call, sizeof(typename Type::Bits));
  Encoding e = EncodingOf(call, rows);
  if (rows.tokens <= kMaxFewRows && int64_t{rows.tokens} * rows.in_features <= kMaxFewElements &&
      e.shared_mask && call.options.range_over == kernels::RangeOver::kRow)
    return RunFew<Type, kViaHalf>(e, stream);

  LaunchConfig find;
  find.grid_x = static_cast<uint32_t>((e.part_bytes + kFindOctets - 1) / kFindOctets);
  find.grid_y = static_cast<uint32_t>(e.num_parts);
  find.threads = kFindThreads;
  find.shared_bytes = kFindThreads;
  find.overlap = true;
  if (find.grid_x != 0) {
    OCTAVO_RETURN_IF_FAILED(Launch(find, stream, FindOutliersKernel<Type, kViaHalf>, rows,
                                   call.pieces.parts, e.part_bytes));
  }
  e.row_warps = RowWarps(e.part_bytes, rows.tokens, call.multiprocessors);
  const int32_t teams = kEncodeWarps / e.row_warps;
  e.row_blocks = std::min((rows.tokens + teams - 1) / teams, 4 * call.multiprocessors);
  LaunchConfig config;
  config.grid_x = static_cast<uint32_t>(e.row_blocks + 1);
  config.threads = 32 * kEncodeWarps;
  config.shared_bytes = kScratchBytes + (e.shared_mask ? static_cast<size_t>(e.part_bytes) : 0);
  config.overlap = true;
  const auto encode = [&](Step step) {
    e.step = step;
    return WithOctets(OctetsFor(e.part_bytes, e.row_warps), [&](auto octets) {
      return Launch(config, stream, EncodeRowsKernel<Type, octets(), kViaHalf>, e);
    });
  };
  if (call.options.range_over == kernels::RangeOver::kRow) return encode(Step::kBoth);

  OCTAVO_RETURN_IF_FAILED(encode(Step::kRangeOnly));
  LaunchConfig merge;
  merge.threads = 32 * kEncodeWarps;
  merge.shared_bytes = kScratchBytes;
  merge.overlap = true;
  OCTAVO_RETURN_IF_FAILED(
      Launch(merge, stream, MergeRangesKernel, e.range_lo, e.range_hi, rows.tokens));
  return encode(Step::kEncodeOnly);
}

template <class Type>
CudaStatus Run(const QuantizeCall& call, void* stream) {
  if constexpr (!std::is_same_v<Type, Half>) {  // fp16 is seen as it is
    if (call.options.via_fp16) return Run<Type, true>(call, stream);
  }
  return Run<Type, false>(call, stream);
}

// Parts of the rows in the search: enough blocks to fill a device, few enough that putting their
// masks together costs little.
size_t PartsOf(size_t tokens, size_t in_features) {
  constexpr size_t kBlocks = 264;
  const size_t columns = kernels::CudaCodeStride(in_features) / (8 * kFindOctets) + 1;
  const size_t parts = std::min<size_t>(kMaxParts, std::max<size_t>(1, kBlocks / columns));
  return std::min(parts, tokens / (kFindGroups * kFindUnroll) + 1);
}

}  // namespace

QuantizePieces CarveQuantize(void* memory, size_t tokens, size_t in_features) {
  QuantizePieces pieces;
  const size_t code_stride = kernels::CudaCodeStride(in_features);
  pieces.num_parts = PartsOf(tokens, in_features);
  pieces.part_bytes = code_stride / 8;
  Carver carver(memory);
  carver.Take(&pieces.codes, tokens, code_stride);
  carver.Take(&pieces.scale, tokens);
  carver.Take(&pieces.zero_point, tokens);
  carver.Take(&pieces.code_sum, tokens);
  carver.Take(&pieces.range_lo, tokens);
  carver.Take(&pieces.range_hi, tokens);
  carver.Take(&pieces.parts, pieces.num_parts, pieces.part_bytes);
  carver.Take(&pieces.outlier_columns, in_features);
  carver.Take(&pieces.num_outlier_columns, 1);
  pieces.bytes = carver.bytes();
  return pieces;
}

CudaStatus LaunchQuantizeActivations(const QuantizeCall& call, void* stream) {
  switch (call.x.type) {
    case ElementType::kFloat16:
      return Run<Half>(call, stream);
    case ElementType::kBFloat16:
      return Run<BFloat>(call, stream);
    case ElementType::kFloat32:
      break;
  }
  return Run<Single>(call, stream);
}

}  // namespace octavo::cuda
