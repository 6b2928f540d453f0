// Activations to codes in two launches: FindOutliersKernel notes in which columns an outlier entry
// stands; EncodeRowsKernel takes each row's range, encodes it, and lists those columns. X is read
// from memory once and, where it is larger than the L2 cache, a second time.
//
// Eight neighbouring columns belong to one thread: one 16-byte load of fp16 or bf16 (two of fp32),
// one byte of every mask, eight bytes of codes. A row in EncodeRowsKernel is the work of
// `row_warps` warps, which keep it in registers between range and codes.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/carver.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize_activations.h"

namespace octavo::cuda {
namespace {

constexpr int kFindThreads = 128;
constexpr int kFindColumns = 8 * kFindThreads;  // of one block
constexpr int kFindUnroll = 8;                  // rows in flight
constexpr int kEncodeThreads = 256;
constexpr int kEncodeWarps = kEncodeThreads / 32;
constexpr size_t kScratchBytes = 2 * kEncodeWarps * sizeof(float);
constexpr int32_t kMaxCluster = 8;  // what every device with clusters has
constexpr int32_t kMaxRowsOfOneCluster = 64;
// Masks up to this size are put together once for each block, in shared memory.
constexpr int64_t kMaxSharedMaskBytes = 16 << 10;

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
  OCTAVO_DEVICE static float Widen(Bits bits) { return HalfToFloat(bits); }
};
struct BFloat {
  using Bits = uint16_t;
  OCTAVO_DEVICE static float Widen(Bits bits) { return BFloat16ToFloat(bits); }
};
struct Single {
  using Bits = uint32_t;
  OCTAVO_DEVICE static float Widen(Bits bits) { return BitsFloat(bits); }
};

// As they lie in memory.
template <class Type>
struct Octet {
  static constexpr int kWords = 2 * sizeof(typename Type::Bits);
  uint32_t words[kWords];

  OCTAVO_DEVICE float at(int i) const {
    if constexpr (sizeof(typename Type::Bits) == 4) {
      return Type::Widen(words[i]);
    } else {
      return Type::Widen(static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2))));
    }
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
    if constexpr (sizeof(Bits) == 4) {
      octet.words[i] = bits;
    } else {
      octet.words[i / 2] |= bits << (16 * (i % 2));
    }
  }
  return octet;
}

template <class Type, bool kViaHalf>
OCTAVO_DEVICE float SeenAt(const Octet<Type>& octet, int i) {
  return Seen(octet.at(i), kViaHalf);
}

// ---- Outlier columns ----------------------------------------------------------------------------

// Which of eight columns have an outlier entry in rows begin, begin + step, … below end.
template <class Type, bool kViaHalf>
OCTAVO_DEVICE uint32_t FindInOctet(const Rows& rows, int32_t column, int32_t begin, int32_t end,
                                   int32_t step) {
  uint32_t found = 0;
  for (int32_t row = begin; row < end; row += kFindUnroll * step) {
    Octet<Type> octets[kFindUnroll];
    OCTAVO_UNROLL
    for (int r = 0; r < kFindUnroll; ++r) {
      const int32_t wanted = row + r * step;
      octets[r] = LoadOctet<Type>(rows, wanted < end ? wanted : row, column);
    }
    OCTAVO_UNROLL
    for (int r = 0; r < kFindUnroll; ++r) {
      OCTAVO_UNROLL
      for (int i = 0; i < 8; ++i) {
        if (IsOutlier(SeenAt<Type, kViaHalf>(octets[r], i), rows.threshold)) found |= 1u << i;
      }
    }
  }
  return found;
}

// Block (i, p): columns from i * kFindColumns on, the p-th of grid_y parts of the rows. Writes
// parts[p][column / 8]; every byte is written, so nothing need be cleared before.
template <class Type, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kFindThreads, 1)
    FindOutliersKernel(Rows rows, uint8_t* parts, int32_t part_bytes) {
  AllowNextKernel();
  WaitForPreviousKernel();
  const int32_t column = BlockX() * kFindColumns + 8 * ThreadIdx();
  if (column / 8 >= part_bytes) return;
  const int32_t begin = static_cast<int32_t>(int64_t{rows.tokens} * BlockY() / GridY());
  const int32_t end = static_cast<int32_t>(int64_t{rows.tokens} * (BlockY() + 1) / GridY());
  parts[int64_t{BlockY()} * part_bytes + column / 8] =
      static_cast<uint8_t>(FindInOctet<Type, kViaHalf>(rows, column, begin, end, 1));
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

// Eight columns' bits, from the combined mask where there is one.
OCTAVO_DEVICE uint32_t OutlierByte(const Encoding& e, const uint8_t* mask, int32_t index) {
  if (mask != nullptr) return mask[index];
  uint32_t byte = 0;
  for (int32_t p = 0; p < e.num_parts; ++p) byte |= e.parts[int64_t{p} * e.part_bytes + index];
  return byte;
}

// The union of the parts, to shared memory. part_bytes is a multiple of 16.
OCTAVO_DEVICE void CombineParts(const Encoding& e, uint8_t* mask) {
  for (int32_t i = 16 * ThreadIdx(); i < e.part_bytes; i += 16 * kEncodeThreads) {
    Vec16 combined = {{0, 0, 0, 0}};
    for (int32_t p = 0; p < e.num_parts; ++p) {
      const Vec16 part = Load16(e.parts + int64_t{p} * e.part_bytes + i);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) combined.x[j] |= part.x[j];
    }
    *reinterpret_cast<Vec16*>(mask + i) = combined;
  }
  BlockSync();
}

// The columns of the mask, ascending, by one warp; 32 columns to a lane at a time.
OCTAVO_DEVICE void ListOutlierColumns(const Encoding& e, const uint8_t* mask) {
  const int32_t num_words = e.part_bytes / 4;
  int32_t count = 0;
  for (int32_t begin = 0; begin < num_words; begin += 32) {
    const int32_t index = begin + LaneIdx();
    uint32_t word = 0;
    if (index < num_words) {
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) word |= OutlierByte(e, mask, 4 * index + i) << (8 * i);
      if (e.kept != nullptr) word &= ~reinterpret_cast<const uint32_t*>(e.kept)[index];
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

OCTAVO_DEVICE float MinOf(float a, float b) { return b < a ? b : a; }
OCTAVO_DEVICE float MaxOf(float a, float b) { return b > a ? b : a; }

// One row's warps, and what they share of the block's scratch memory.
struct Team {
  int32_t warps;
  int32_t first_warp;  // in the block
  int32_t warp;        // this one, in the block
  int32_t lane;        // 0 .. 32 * warps - 1
  float* scratch;      // [2 * kEncodeWarps]

  // Combines values over the team; every thread of the block must call it.
  template <class Combine>
  OCTAVO_DEVICE float Reduce(float value, float* slots, Combine&& combine) const {
    OCTAVO_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) value = combine(value, ShuffleXor(value, mask));
    if (warps == 1) return value;
    if (LaneIdx() == 0) slots[warp] = value;
    BlockSync();
    value = slots[first_warp];
    for (int32_t w = 1; w < warps; ++w) value = combine(value, slots[first_warp + w]);
    BlockSync();
    return value;
  }
};

template <class Type, int kOctets, bool kViaHalf>
OCTAVO_DEVICE void EncodeRow(const Encoding& e, const Team& team, const uint8_t* mask, int32_t row,
                             bool has_row) {
  // kOctets = 0: longer rows than registers hold; read twice.
  constexpr int kHeld = kOctets == 0 ? 1 : kOctets;
  const int32_t threads = 32 * team.warps;
  const int32_t num_octets = e.part_bytes;
  const int32_t rounds = kOctets == 0 ? (num_octets + threads - 1) / threads : kOctets;
  Octet<Type> held[kHeld] = {};
  const auto index_of = [&](int32_t i) { return i * threads + team.lane; };
  const auto masks_of = [&](int32_t index, uint32_t* for_range, uint32_t* for_codes) {
    const uint32_t outlier = OutlierByte(e, mask, index);
    const uint32_t kept = e.kept != nullptr ? e.kept[index] : 0;
    *for_range = kept | (e.range_by_column ? outlier : 0);
    *for_codes = kept | (e.by_entry ? 0 : outlier);
  };

  if constexpr (kOctets > 0) {
    if (has_row) {
      OCTAVO_UNROLL
      for (int i = 0; i < kHeld; ++i) {
        if (index_of(i) < num_octets) held[i] = LoadOctet<Type>(e.rows, row, 8 * index_of(i));
      }
    }
  }
  float lo = 0, hi = 0;
  if (e.step == Step::kEncodeOnly) {
    if (has_row) {
      lo = e.range_lo[row];
      hi = e.range_hi[row];
    }
  } else {
    if (has_row) {
      OCTAVO_UNROLL
      for (int i = 0; i < rounds; ++i) {
        const int32_t index = index_of(i);
        if (index >= num_octets) continue;
        if constexpr (kOctets == 0) held[0] = LoadOctet<Type>(e.rows, row, 8 * index);
        uint32_t excluded = 0, unused = 0;
        masks_of(index, &excluded, &unused);
        OCTAVO_UNROLL
        for (int j = 0; j < 8; ++j) {
          float value = SeenAt<Type, kViaHalf>(held[kOctets == 0 ? 0 : i], j);
          if (((excluded >> j) & 1u) || IsOutlier(value, e.rows.threshold)) value = 0;
          lo = MinOf(lo, value);
          hi = MaxOf(hi, value);
        }
      }
    }
    lo = team.Reduce(lo, team.scratch, [](float a, float b) { return MinOf(a, b); });
    hi = team.Reduce(hi, team.scratch, [](float a, float b) { return MaxOf(a, b); });
  }
  if (e.step == Step::kRangeOnly) {
    if (has_row && team.lane == 0) {
      e.range_lo[row] = lo;
      e.range_hi[row] = hi;
    }
    return;
  }

  const RowGrid grid = MakeRowGrid(lo, hi, e.symmetric);
  int32_t sum = 0;
  if (has_row) {
    OCTAVO_UNROLL
    for (int i = 0; i < rounds; ++i) {
      const int32_t index = index_of(i);
      if (index >= num_octets) continue;
      if constexpr (kOctets == 0) held[0] = LoadOctet<Type>(e.rows, row, 8 * index);
      uint32_t unused = 0, excluded = 0;
      masks_of(index, &unused, &excluded);
      uint32_t packed[2] = {0, 0};
      OCTAVO_UNROLL
      for (int j = 0; j < 8; ++j) {
        float value = SeenAt<Type, kViaHalf>(held[kOctets == 0 ? 0 : i], j);
        if (((excluded >> j) & 1u) || IsOutlier(value, e.rows.threshold)) value = 0;
        // Past in_features stands 0, whatever the code of the value 0 is.
        const int32_t code = 8 * index + j < e.rows.in_features ? EncodeValue(value, grid) : 0;
        sum += code;
        packed[j / 4] |= (static_cast<uint32_t>(code) & 0xffu) << (8 * (j % 4));
      }
      uint32_t* const target =
          reinterpret_cast<uint32_t*>(e.codes + int64_t{row} * e.code_stride + 8 * index);
      target[0] = packed[0];
      target[1] = packed[1];
    }
  }
  // Sums of 2^23 codes fit int32, and every partial sum fits too: they are exact as bits of floats
  // are not, so they travel as int32.
  OCTAVO_UNROLL
  for (int m = 16; m > 0; m /= 2) sum += ShuffleXor(sum, m);
  int32_t* const sums = reinterpret_cast<int32_t*>(team.scratch);
  if (team.warps > 1) {
    if (LaneIdx() == 0) sums[team.warp] = sum;
    BlockSync();
    sum = 0;
    for (int32_t w = 0; w < team.warps; ++w) sum += sums[team.first_warp + w];
    BlockSync();
  }
  if (has_row && team.lane == 0) {
    e.scale[row] = grid.scale;
    e.zero_point[row] = grid.zero_point;
    e.code_sum[row] = sum;
  }
}

// The rows of one block: every row_blocks-th group of as many rows as the block has teams.
template <class Type, int kOctets, bool kViaHalf>
OCTAVO_DEVICE void EncodeRows(const Encoding& e, float* scratch, const uint8_t* mask) {
  const int32_t teams = kEncodeWarps / e.row_warps;
  const int32_t warp = WarpIdx(), first_warp = warp / e.row_warps * e.row_warps;
  const Team team{e.row_warps, first_warp, warp, ThreadIdx() - 32 * first_warp, scratch};
  for (int32_t begin = BlockX() * teams; begin < e.rows.tokens; begin += e.row_blocks * teams) {
    const int32_t row = begin + first_warp / e.row_warps;
    EncodeRow<Type, kOctets, kViaHalf>(e, team, mask, row, row < e.rows.tokens);
  }
}

// Blocks 0 .. row_blocks - 1 encode; one more lists the outlier columns.
template <class Type, int kOctets, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kEncodeThreads, 1) EncodeRowsKernel(Encoding e) {
  AllowNextKernel();
  WaitForPreviousKernel();
  float* const scratch = reinterpret_cast<float*>(SharedMemory());
  uint8_t* const shared_mask = SharedMemory() + kScratchBytes;
  const uint8_t* const mask = e.shared_mask ? shared_mask : nullptr;
  if (e.shared_mask) CombineParts(e, shared_mask);
  if (BlockX() < e.row_blocks) {
    EncodeRows<Type, kOctets, kViaHalf>(e, scratch, mask);
  } else if (e.step != Step::kRangeOnly && WarpIdx() == 0) {
    ListOutlierColumns(e, mask);
  }
}

// Few rows: everything in one launch of one cluster, whose barrier stands between the search and
// the codes. Each block searches every row_blocks-th row.
template <class Type, int kOctets, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kEncodeThreads, 1)
    QuantizeFewKernel(Encoding e, uint8_t* parts) {
  AllowNextKernel();
  WaitForPreviousKernel();
  float* const scratch = reinterpret_cast<float*>(SharedMemory());
  uint8_t* const mask = SharedMemory() + kScratchBytes;
  for (int32_t index = ThreadIdx(); index < e.part_bytes; index += kEncodeThreads) {
    parts[int64_t{BlockX()} * e.part_bytes + index] = static_cast<uint8_t>(
        FindInOctet<Type, kViaHalf>(e.rows, 8 * index, BlockX(), e.rows.tokens, e.row_blocks));
  }
  ClusterSync();
  CombineParts(e, mask);
  EncodeRows<Type, kOctets, kViaHalf>(e, scratch, mask);
  // The block with the fewest rows.
  if (BlockX() == e.row_blocks - 1 && WarpIdx() == kEncodeWarps - 1) ListOutlierColumns(e, mask);
}

// One range over all rows: methods tensor-wise and zeropoint-tensor. One block.
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kEncodeThreads, 1)
    MergeRangesKernel(float* range_lo, float* range_hi, int32_t tokens) {
  AllowNextKernel();
  WaitForPreviousKernel();
  float lo = 0, hi = 0;
  for (int32_t row = ThreadIdx(); row < tokens; row += kEncodeThreads) {
    lo = MinOf(lo, range_lo[row]);
    hi = MaxOf(hi, range_hi[row]);
  }
  const Team team{kEncodeWarps, 0, WarpIdx(), ThreadIdx(), reinterpret_cast<float*>(SharedMemory())};
  lo = team.Reduce(lo, team.scratch, [](float a, float b) { return MinOf(a, b); });
  hi = team.Reduce(hi, team.scratch, [](float a, float b) { return MaxOf(a, b); });
  for (int32_t row = ThreadIdx(); row < tokens; row += kEncodeThreads) {
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

// How a row is spread: octets for each thread, and warps. Few rows get many warps each.
struct RowSpread {
  int32_t warps = 1;
  int32_t octets = 0;
};
RowSpread SpreadRow(int32_t num_octets, int32_t tokens, int32_t multiprocessors) {
  RowSpread spread;
  // Enough warps on every multiprocessor, as long as a thread has something to do.
  while (spread.warps < kEncodeWarps && int64_t{tokens} * spread.warps < 16 * multiprocessors &&
         num_octets > 32 * spread.warps) {
    spread.warps *= 2;
  }
  while (spread.warps < kEncodeWarps && num_octets > 8 * 32 * spread.warps) spread.warps *= 2;
  const int32_t needed = (num_octets + 32 * spread.warps - 1) / (32 * spread.warps);
  for (const int32_t octets : {8, 4, 2, 1}) {
    if (octets >= needed) spread.octets = octets;
  }
  return spread;
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
CudaStatus Run(const QuantizeCall& call, void* stream) {
  const Rows rows = RowsOf(call, sizeof(typename Type::Bits));
  Encoding e = EncodingOf(call, rows);
  const RowSpread spread = SpreadRow(e.part_bytes, rows.tokens, call.multiprocessors);
  e.row_warps = spread.warps;
  const int32_t teams = kEncodeWarps / e.row_warps;
  LaunchConfig config;
  config.threads = kEncodeThreads;
  config.shared_bytes = kScratchBytes + (e.shared_mask ? e.part_bytes : 0);
  config.overlap = true;

  if (call.has_clusters && e.shared_mask && rows.tokens <= kMaxRowsOfOneCluster &&
      call.options.range_over == kernels::RangeOver::kRow) {
    e.row_blocks = std::min(rows.tokens, kMaxCluster);
    while (e.row_blocks & (e.row_blocks - 1)) --e.row_blocks;  // cluster sizes are powers of two
    e.num_parts = e.row_blocks;
    config.grid_x = config.cluster = static_cast<uint32_t>(e.row_blocks);
    return WithOctets(spread.octets, [&](auto octets) {
      return Launch(config, stream, QuantizeFewKernel<Type, octets(), kViaHalf>, e,
                    call.pieces.parts);
    });
  }

  LaunchConfig find;
  find.grid_x = static_cast<uint32_t>((e.part_bytes + kFindThreads - 1) / kFindThreads);
  find.grid_y = static_cast<uint32_t>(e.num_parts);
  find.threads = kFindThreads;
  find.overlap = true;
  if (find.grid_x != 0) {
    OCTAVO_RETURN_IF_FAILED(Launch(find, stream, FindOutliersKernel<Type, kViaHalf>, rows,
                                   call.pieces.parts, e.part_bytes));
  }
  e.row_blocks = std::min((rows.tokens + teams - 1) / teams, 4 * call.multiprocessors);
  config.grid_x = static_cast<uint32_t>(e.row_blocks + 1);
  const auto encode = [&](Step step) {
    e.step = step;
    return WithOctets(spread.octets, [&](auto octets) {
      return Launch(config, stream, EncodeRowsKernel<Type, octets(), kViaHalf>, e);
    });
  };
  if (call.options.range_over == kernels::RangeOver::kRow) return encode(Step::kBoth);

  OCTAVO_RETURN_IF_FAILED(encode(Step::kRangeOnly));
  LaunchConfig merge;
  merge.threads = kEncodeThreads;
  merge.shared_bytes = kScratchBytes;
  merge.overlap = true;
  OCTAVO_RETURN_IF_FAILED(
      Launch(merge, stream, MergeRangesKernel, e.range_lo, e.range_hi, rows.tokens));
  return encode(Step::kEncodeOnly);
}

template <class Type>
CudaStatus Run(const QuantizeCall& call, void* stream) {
  return call.options.via_fp16 ? Run<Type, true>(call, stream) : Run<Type, false>(call, stream);
}

// Parts of the rows in the search: enough blocks to fill a device, few enough that putting their
// masks together costs nothing.
size_t PartsOf(size_t tokens, size_t in_features) {
  const size_t column_blocks = (in_features + kFindColumns - 1) / kFindColumns;
  const size_t wanted =
      std::min<size_t>(32, std::max<size_t>(1, 264 / std::max<size_t>(1, column_blocks)));
  return std::max(std::min(wanted, (tokens + kFindUnroll - 1) / kFindUnroll),
                  std::min<size_t>(tokens, kMaxCluster));
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
