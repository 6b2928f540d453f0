// Activations to codes: in which columns an outlier entry stands; each row's range; its codes.
//
// Many rows take two launches: FindOutliersKernel, then EncodeRowsKernel. Each reads X once; the
// second one begins before the first one has finished. Few rows take one launch, in which every
// block searches all of them by itself and encodes one.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/carver.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize_activations.h"
#include "kernels/cuda/quantize_rows.h"

namespace octavo::cuda {
namespace {

// FindOutliersKernel: a block has 64 octets side by side and 8 groups of rows.
constexpr int kFindOctets = 64;
constexpr int kFindGroups = 8;
constexpr int kFindThreads = kFindOctets * kFindGroups;
constexpr int32_t kMaxParts = 32;
constexpr int kEncodeWarps = 8;
constexpr int kEncodeThreads = 32 * kEncodeWarps;
constexpr int kEncodeBlocks = 3;  // of a multiprocessor
// So many that registers are for: fewer where the compiler needs more of them for a row.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ < 800 || __CUDA_ARCH__ >= 1000)
[[maybe_unused]] constexpr int kResidentBlocks = 2;
#else
[[maybe_unused]] constexpr int kResidentBlocks = kEncodeBlocks;
#endif
template <class Type>
constexpr int kEncodeHeld = !Type::kAligned  ? 2
                            : kIs16Bit<Type> ? 8
                                             : 3;  // octets of a thread
constexpr int kFewWarps = kMaxTeamWarps;
constexpr int kFewHeld = 2;  // octets of a thread
// Up to here one launch is the faster one: every block reads all of X.
constexpr int32_t kMaxFewRows = 16;
constexpr int64_t kMaxFewElements = 64 << 10;
// Masks up to this size are put together once for each block, in shared memory.
constexpr int64_t kMaxSharedMaskBytes = 16 << 10;

// Block (i, p): kFindOctets octets, the p-th of grid_y parts of the rows. Writes
// parts[p][column / 8]; every byte is written, so nothing need be cleared before.
template <class Type, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kFindThreads, 1)
    FindOutliersKernel(Rows rows, uint8_t* parts, int32_t part_bytes) {
  uint8_t* const found = SharedMemory();  // [kFindGroups][kFindOctets]
  const int octet = ThreadIdx() % kFindOctets, group = ThreadIdx() / kFindOctets;
  const int32_t index = BlockX() * kFindOctets + octet;
  const int32_t begin = static_cast<int32_t>(int64_t{rows.tokens} * BlockY() / GridY());
  const int32_t end = static_cast<int32_t>(int64_t{rows.tokens} * (BlockY() + 1) / GridY());
  WaitForPreviousKernel();
  AllowNextKernel();
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

// Blocks 0 .. row_blocks - 1 take as many rows at a time as they have teams; one more lists the
// outlier columns. X is older than the kernel in front, which allowed this one only after it had
// waited for X: the first rows are loaded at once.
template <class Type, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kEncodeThreads, kResidentBlocks)
    EncodeRowsKernel(Encoding e) {
  AllowNextKernel();
  float* const scratch = reinterpret_cast<float*>(SharedMemory());
  uint8_t* const shared_mask = SharedMemory() + kTeamScratchBytes;
  const int32_t warp = WarpIdx(), teams = kEncodeWarps / e.row_warps;
  const Team team = Team::Make(e.row_warps, warp, scratch);
  const uint8_t* const mask = e.shared_mask ? shared_mask : e.parts;
  const bool lists = BlockX() == e.row_blocks;
  RowEncoder<Type, kViaHalf, kEncodeHeld<Type>> encoder{e, team, mask, {}};
  int32_t row = BlockX() * teams + team.index();
  encoder.Load(row, !lists && row < e.rows.tokens);
  WaitForPreviousKernel();
  if (e.shared_mask) CombineParts(e, shared_mask, kEncodeThreads);
  if (lists) {
    if (e.step != Step::kRangeOnly && warp == 0) ListOutlierColumns(e, mask);
    return;
  }
  for (;;) {
    encoder.Run(row, row < e.rows.tokens);
    row += e.row_blocks * teams;
    if (row - team.index() >= e.rows.tokens) return;
    encoder.Load(row, row < e.rows.tokens);
  }
}

// Few rows in one launch: every block searches all rows, block i < tokens encodes row i, and the
// last block lists the outlier columns.
template <class Type, bool kViaHalf>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(32 * kFewWarps, 1) QuantizeFewKernel(Encoding e) {
  AllowNextKernel();
  WaitForPreviousKernel();
  float* const scratch = reinterpret_cast<float*>(SharedMemory());
  uint8_t* const mask = SharedMemory() + kTeamScratchBytes;
  const int32_t warp = WarpIdx();
  const bool has_row = BlockX() < e.rows.tokens;
  const Team team = Team::Make(kFewWarps, warp, scratch);
  RowEncoder<Type, kViaHalf, kFewHeld> encoder{e, team, mask, {}};
  encoder.Load(BlockX(), has_row);
  FindInRows<Type, kViaHalf>(e, mask, 32 * kFewWarps);
  BlockSync();
  if (has_row) {
    encoder.Run(BlockX(), true);
  } else if (warp == 0) {
    ListOutlierColumns(e, mask);
  }
}

// One range over all rows: methods tensor-wise and zeropoint-tensor. One block.
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kEncodeThreads, 1)
    MergeRangesKernel(float* range_lo, float* range_hi, int32_t tokens) {
  WaitForPreviousKernel();
  AllowNextKernel();
  float lo = 0, hi = 0;
  for (int32_t row = ThreadIdx(); row < tokens; row += kEncodeThreads) {
    lo = MinF(lo, range_lo[row]);
    hi = MaxF(hi, range_hi[row]);
  }
  const Team team = Team::Make(kEncodeWarps, WarpIdx(), reinterpret_cast<float*>(SharedMemory()));
  team.ReduceRange(&lo, &hi);
  for (int32_t row = ThreadIdx(); row < tokens; row += kEncodeThreads) {
    range_lo[row] = lo;
    range_hi[row] = hi;
  }
}

// ---- Host ---------------------------------------------------------------------------------------

// Warps for each row: how many make the rounds over the rows cheapest, where as many rows at a time
// as the device holds are a round. A row that is held only in part counts twice.
int32_t RowWarps(int32_t num_octets, int32_t held, int32_t tokens, int32_t multiprocessors) {
  const int64_t device_warps = int64_t{kEncodeBlocks} * kEncodeWarps * multiprocessors;
  int32_t best = 1;
  double least = 0;
  for (int32_t warps = 1; warps <= kEncodeWarps; warps *= 2) {
    const int64_t at_once = device_warps / warps;
    const double rounds = static_cast<double>((tokens - 1) / at_once + 1);
    const double octets = std::max(1.0, num_octets / (32.0 * warps));  // of a thread
    const double cost = rounds * (octets * (octets > held ? 1.5 : 1.0) + 2);
    if (warps == 1 || cost < least) {
      best = warps;
      least = cost;
    }
  }
  return best;
}

Rows RowsOf(const QuantizeCall& call) {
  Rows rows;
  rows.x = call.x.data;
  rows.x_stride = static_cast<int64_t>(call.x.row_stride);
  rows.tokens = static_cast<int32_t>(call.x.tokens);
  rows.in_features = static_cast<int32_t>(call.x.in_features);
  rows.threshold = call.threshold;
  rows.aligned =
      reinterpret_cast<uintptr_t>(call.x.data) % 16 == 0 &&
      (call.x.tokens == 1 || call.x.row_stride * kernels::ElementBytes(call.x.type) % 16 == 0) &&
      call.x.in_features % 8 == 0;
  return rows;
}

template <class Type, bool kViaHalf>
CudaStatus RunFew(const Encoding& e, void* stream) {
  LaunchConfig config;
  config.grid_x = static_cast<uint32_t>(e.rows.tokens + 1);
  config.threads = 32 * kFewWarps;
  config.shared_bytes = kTeamScratchBytes + static_cast<size_t>(e.part_bytes);
  config.overlap = true;
  return Launch(config, stream, QuantizeFewKernel<Type, kViaHalf>, e);
}

template <class Type, bool kViaHalf>
CudaStatus Run(const QuantizeCall& call, void* stream) {
  Encoding e = EncodingOf(call);
  const Rows& rows = e.rows;
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
  e.row_warps = RowWarps(e.part_bytes, kEncodeHeld<Type>, rows.tokens, call.multiprocessors);
  const int32_t teams = kEncodeWarps / e.row_warps;
  e.row_blocks = std::min((rows.tokens + teams - 1) / teams, kEncodeBlocks * call.multiprocessors);
  LaunchConfig config;
  config.grid_x = static_cast<uint32_t>(e.row_blocks + 1);
  config.threads = kEncodeThreads;
  config.shared_bytes = kTeamScratchBytes;
  if (e.shared_mask)
    config.shared_bytes += static_cast<size_t>(CombinedMaskBytes(e.part_bytes, kEncodeThreads));
  config.overlap = true;
  const auto encode = [&](Step step) {
    e.step = step;
    return Launch(config, stream, EncodeRowsKernel<Type, kViaHalf>, e);
  };
  if (call.options.range_over == kernels::RangeOver::kRow) return encode(Step::kBoth);

  OCTAVO_RETURN_IF_FAILED(encode(Step::kRangeOnly));
  LaunchConfig merge;
  merge.threads = kEncodeThreads;
  merge.shared_bytes = kTeamScratchBytes;
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
  return RowsOf(call).aligned ? Run<Aligned<Type>, false>(call, stream)
                              : Run<Type, false>(call, stream);
}

// Parts of the rows in the search: enough blocks to fill a device, few enough that putting their
// masks together costs little.
size_t PartsOf(size_t tokens, size_t in_features) {
  constexpr size_t kBlocks = 264;
  const size_t part_bytes = kernels::CudaCodeStride(in_features) / 8;
  if (part_bytes > kMaxSharedMaskBytes) return 1;  // then it is read where it lies
  const size_t columns = part_bytes / kFindOctets + 1;
  const size_t parts = std::min<size_t>(kMaxParts, std::max<size_t>(1, kBlocks / columns));
  return std::min(parts, tokens / (kFindGroups * kRowsInFlight) + 1);
}

}  // namespace

Encoding EncodingOf(const QuantizeCall& call) {
  const QuantizePieces& pieces = call.pieces;
  Encoding e;
  e.rows = RowsOf(call);
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
