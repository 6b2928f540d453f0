#include "tests/kernels/cuda/primitive_kernels.h"

#include "kernels/cuda/primitives.h"

namespace octavo::cuda::testing {
namespace {

constexpr int kWarp = 32;

// 16-byte pieces from global to shared memory by the whole block.
OCTAVO_DEVICE void CopyToShared(unsigned char* shared, const void* global, int bytes, int threads) {
  for (int i = ThreadIdx() * 16; i < bytes; i += threads * 16) {
    const Vec16 v = Load16(static_cast<const unsigned char*>(global) + i);
    *reinterpret_cast<Vec16*>(shared + i) = v;
  }
  BlockSync();
}

// A's four fragments and B's two, of rows of 32 bytes: A's 16 rows, then B's 8.
OCTAVO_DEVICE void LoadFragments(const unsigned char* shared, uint32_t (&a)[4], uint32_t (&b)[2]) {
  const int lane = LaneIdx();
  LoadMatrix4(a, shared + (lane % 8 + lane / 8 % 2 * 8) * 32 + lane / 16 * 16);
  uint32_t twice[4];
  LoadMatrix4(twice, shared + 16 * 32 + lane % 8 * 32 + lane / 8 % 2 * 16);
  b[0] = twice[0];
  b[1] = twice[1];
}

template <class D>
OCTAVO_DEVICE void StoreProduct(D* out, const D (&d)[4]) {
  const int g = LaneIdx() / 4;
  const int t = LaneIdx() % 4;
  for (int i = 0; i < 4; ++i) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

template <class D>
OCTAVO_DEVICE void LoadProduct(const D* out, D (&d)[4]) {
  const int g = LaneIdx() / 4;
  const int t = LaneIdx() % 4;
  for (int i = 0; i < 4; ++i) d[i] = out[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
}

template <bool kSignedA>
OCTAVO_KERNEL void MmaI8Kernel(const void* a, const int8_t* b, int32_t* out) {
  CopyToShared(SharedMemory(), a, 16 * 32, kWarp);
  CopyToShared(SharedMemory() + 16 * 32, b, 8 * 32, kWarp);
  uint32_t a_fragment[4];
  uint32_t b_fragment[2];
  LoadFragments(SharedMemory(), a_fragment, b_fragment);
  int32_t d[4];
  LoadProduct(out, d);
  MmaI8<kSignedA>(d, a_fragment, b_fragment);
  StoreProduct(out, d);
}

template <bool kBFloat16>
OCTAVO_KERNEL void Mma16Kernel(const uint16_t* a, const uint16_t* b, float* out) {
  CopyToShared(SharedMemory(), a, 16 * 32, kWarp);
  CopyToShared(SharedMemory() + 16 * 32, b, 8 * 32, kWarp);
  uint32_t a_fragment[4];
  uint32_t b_fragment[2];
  LoadFragments(SharedMemory(), a_fragment, b_fragment);
  float d[4];
  LoadProduct(out, d);
  if constexpr (kBFloat16) {
    MmaBF16(d, a_fragment, b_fragment);
  } else {
    MmaF16(d, a_fragment, b_fragment);
  }
  StoreProduct(out, d);
}

OCTAVO_KERNEL void ExchangeKernel(const int32_t* in, int32_t* out) {
  const int lane = LaneIdx();
  const int32_t mine = in[lane];
  const uint32_t ballot = Ballot(mine % 3 == 0);
  out[lane] = Shuffle(mine, (7 * lane + 3) % kWarp);
  out[kWarp + lane] = ShuffleXor(mine, 11);
  out[2 * kWarp + lane] = static_cast<int32_t>(ballot);
  out[3 * kWarp + lane] = PopCount(ballot);
}

OCTAVO_DEVICE uint32_t Bits(float value) {
  union {
    float from;
    uint32_t to;
  } bits = {value};
  return bits.to;
}

OCTAVO_KERNEL void ArithmeticKernel(const float* x, const float* y, size_t count, uint32_t* out) {
  const size_t threads = 128;
  for (size_t i = threads * static_cast<size_t>(BlockX()) + static_cast<size_t>(ThreadIdx());
       i < count; i += threads * static_cast<size_t>(GridX())) {
    const float a = x[i];
    const float b = y[i];
    const uint32_t results[kNumFloatResults] = {
        Bits(MulRn(a, b)),
        Bits(AddRn(a, b)),
        Bits(SubRn(a, b)),
        Bits(DivRn(a, b)),
        Bits(FmaRn(a, b, a)),
        static_cast<uint32_t>(RoundToInt(a)),
        Bits(RintF(a)),
        Bits(IntToFloat(static_cast<int32_t>(Bits(a)))),
        Bits(LongToFloat(static_cast<int64_t>(uint64_t{Bits(a)} << 32 | Bits(b)))),
        FloatToHalf(a) | static_cast<uint32_t>(FloatToBFloat16(a)) << 16,
        Bits(HalfToFloat(static_cast<uint16_t>(Bits(a)))),
        PackHalf2(a, b),
        PackBFloat162(a, b),
    };
    for (int r = 0; r < kNumFloatResults; ++r) out[static_cast<size_t>(r) * count + i] = results[r];
  }
}

constexpr int kRing = 4;
constexpr int kRowInts = 512;

OCTAVO_KERNEL OCTAVO_LAUNCH_BOUNDS(128, 1) void AddRowsKernel(const int32_t* in, int rows,
                                                              int32_t* out) {
  auto* const ring = reinterpret_cast<int32_t*>(SharedMemory());
  const int thread = ThreadIdx();
  const auto load = [&](int row) {
    CpAsync16(ring + row % kRing * kRowInts + 4 * thread, in + size_t{kRowInts} * row + 4 * thread,
              row < rows);
    CpAsyncCommit();
  };
  int32_t sums[4] = {};
  for (int row = 0; row < kRing - 1; ++row) load(row);
  const int padded = (rows + kRing - 1) / kRing * kRing;
  for (int row = 0; row < padded; ++row) {
    CpAsyncWait<kRing - 2>();
    BlockSync();
    // The slot that the barrier showed to be free.
    load(row + kRing - 1);
    // Another thread's part of the row, so that the barrier matters.
    for (int i = 0; i < 4; ++i) sums[i] += ring[row % kRing * kRowInts + (thread ^ 37) * 4 + i];
  }
  CpAsyncWait<0>();
  for (int i = 0; i < 4; ++i) out[(thread ^ 37) * 4 + i] = sums[i];
}

OCTAVO_KERNEL void NamedSyncKernel(uint32_t* out) {
  auto* const shared = reinterpret_cast<uint32_t*>(SharedMemory());
  const int warp = WarpIdx();
  if (ThreadIdx() == 0) shared[0] = 0;
  BlockSync();
  // Barrier w has the warps w - 1 and w.
  if (warp < 3) {
    if (warp > 0) NamedSync(warp, 64);
    if (LaneIdx() == 0 && shared[0] == static_cast<uint32_t>(warp)) ++shared[0];
    WarpSync();
    if (warp < 2) NamedSync(warp + 1, 64);
  }
  AtomicOr(out + 1, 1u << LaneIdx() / 2 * 2 << warp % 2);
  BlockSync();
  if (ThreadIdx() == 0) out[0] = shared[0];
}

OCTAVO_KERNEL void TmaBoxKernel(OCTAVO_GRID_CONSTANT const TensorMap map, int32_t x, int32_t y,
                                uint8_t* out) {
  unsigned char* const box = SharedMemory();
  auto* const barrier = reinterpret_cast<uint64_t*>(box + 2048);
  if (ThreadIdx() == 0) {
    PrefetchTensorMap(&map);
    MbarrierInit(barrier, 1);
    MbarrierInitFence();
  }
  BlockSync();
  if (ThreadIdx() == 0) {
    MbarrierArriveExpectTx(barrier, 2048);
    TmaLoad2D(box, &map, x, y, barrier);
  }
  MbarrierWait(barrier, 0);
  for (int i = ThreadIdx(); i < 2048; i += kWarp) out[i] = box[i];
}

constexpr int kStages = 3;
constexpr int kProducerWarp = 4;
constexpr int kWgmmaThreads = 256;

template <int kN>
constexpr int kStageBytes = (kTileRows + kN) * kTileBytes;

// Warps 0 to 3 multiply, warp 4 loads; three more make it a warp group, which gives up registers.
template <int kN, bool kSignedA, int kCluster>
OCTAVO_KERNEL OCTAVO_LAUNCH_BOUNDS(kWgmmaThreads,
                                   1) void WgmmaKernel(OCTAVO_GRID_CONSTANT const TensorMap map_a,
                                                       OCTAVO_GRID_CONSTANT const TensorMap map_b,
                                                       int columns, int k_tiles, int32_t* out) {
  unsigned char* const tiles = SharedMemory();
  auto* const full = reinterpret_cast<uint64_t*>(tiles + kStages * kStageBytes<kN>);
  uint64_t* const empty = full + kStages;
  const int warp = WarpIdx();
  if (ThreadIdx() == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      MbarrierInit(full + stage, 1);
      MbarrierInit(empty + stage, kCluster);
    }
    MbarrierInitFence();
  }
  if constexpr (kCluster > 1) {
    ClusterSync();
  } else {
    BlockSync();
  }

  if (warp >= kProducerWarp) {
    RegistersDecrease<40>();
    if (warp == kProducerWarp && LaneIdx() == 0) {
      for (int tile = 0; tile < k_tiles; ++tile) {
        const int stage = tile % kStages;
        const int round = tile / kStages;
        if (round > 0) MbarrierWait(empty + stage, static_cast<uint32_t>(round - 1) & 1);
        unsigned char* const a = tiles + stage * kStageBytes<kN>;
        unsigned char* const b = a + kTileRows * kTileBytes;
        MbarrierArriveExpectTx(full + stage, kStageBytes<kN>);
        TmaLoad2D(a, &map_a, tile * kTileBytes, BlockX() * kTileRows, full + stage);
        if constexpr (kCluster > 1) {
          const int part = ClusterRank() * (kN / kCluster);
          TmaLoad2DMulticast(b + part * kTileBytes, &map_b, tile * kTileBytes, BlockY() * kN + part,
                             full + stage, (1u << kCluster) - 1);
        } else {
          TmaLoad2D(b, &map_b, tile * kTileBytes, BlockY() * kN, full + stage);
        }
      }
    }
    WarpSync();
  } else {
    RegistersIncrease<232>();
    int32_t d[kN / 2];
    const auto release = [&](int tile) {
      uint64_t* const barrier = empty + tile % kStages;
      if constexpr (kCluster > 1) {
        if (ThreadIdx() < kCluster)
          MbarrierArriveCluster(barrier, static_cast<uint32_t>(ThreadIdx()));
      } else {
        if (ThreadIdx() == 0) MbarrierArrive(barrier);
      }
    };
    for (int tile = 0; tile < k_tiles; ++tile) {
      const int stage = tile % kStages;
      MbarrierWait(full + stage, static_cast<uint32_t>(tile / kStages) & 1);
      const uint64_t a = SmemDescriptor(tiles + stage * kStageBytes<kN>);
      const uint64_t b = SmemDescriptor(tiles + stage * kStageBytes<kN> + kTileRows * kTileBytes);
      WgmmaFenceRegisters(d);
      WgmmaFence();
      OCTAVO_UNROLL
      for (int k = 0; k < kTileBytes; k += 32) {
        const uint64_t advance = static_cast<uint64_t>(k >> 4);
        WgmmaI8<kN, kSignedA>(d, a + advance, b + advance, tile > 0 || k > 0);
      }
      WgmmaCommit();
      WgmmaFenceRegisters(d);
      // One product stays under way; the stage of the one before it is free.
      WgmmaWait<1>();
      if (tile > 0) release(tile - 1);
    }
    WgmmaWait<0>();
    WgmmaFenceRegisters(d);
    const int row = BlockX() * kTileRows + warp * 16 + LaneIdx() / 4;
    const int column = BlockY() * kN + LaneIdx() % 4 * 2;
    OCTAVO_UNROLL
    for (int i = 0; i < kN / 2; ++i)
      out[static_cast<size_t>(row + i / 2 % 2 * 8) * static_cast<size_t>(columns) +
          static_cast<size_t>(column + i / 4 * 8 + i % 2)] = d[i];
  }
  // No block ends while the other one may still write to it.
  if constexpr (kCluster > 1) ClusterSync();
}

template <int kN, bool kSignedA, int kCluster>
CudaStatus LaunchWgmmaAs(const TensorMap& map_a, const TensorMap& map_b, int rows, int columns,
                         int k_tiles, int32_t* out) {
  return Launch({.grid_x = static_cast<uint32_t>(rows / kTileRows),
                 .grid_y = static_cast<uint32_t>(columns / kN),
                 .threads = kWgmmaThreads,
                 .shared_bytes = kStages * kStageBytes<kN> + 2 * kStages * sizeof(uint64_t),
                 .cluster = kCluster},
                nullptr, &WgmmaKernel<kN, kSignedA, kCluster>, map_a, map_b, columns, k_tiles, out);
}

template <int kN>
CudaStatus LaunchWgmmaOf(bool signed_a, int cluster, const TensorMap& map_a, const TensorMap& map_b,
                         int rows, int columns, int k_tiles, int32_t* out) {
  if (cluster == 1)
    return signed_a ? LaunchWgmmaAs<kN, true, 1>(map_a, map_b, rows, columns, k_tiles, out)
                    : LaunchWgmmaAs<kN, false, 1>(map_a, map_b, rows, columns, k_tiles, out);
  return signed_a ? LaunchWgmmaAs<kN, true, 2>(map_a, map_b, rows, columns, k_tiles, out)
                  : LaunchWgmmaAs<kN, false, 2>(map_a, map_b, rows, columns, k_tiles, out);
}

}  // namespace

CudaStatus LaunchMmaI8(bool signed_a, const void* a, const int8_t* b, int32_t* d) {
  return Launch({.threads = kWarp, .shared_bytes = 24 * 32}, nullptr,
                signed_a ? &MmaI8Kernel<true> : &MmaI8Kernel<false>, a, b, d);
}

CudaStatus LaunchMma16(bool bfloat16, const uint16_t* a, const uint16_t* b, float* d) {
  return Launch({.threads = kWarp, .shared_bytes = 24 * 32}, nullptr,
                bfloat16 ? &Mma16Kernel<true> : &Mma16Kernel<false>, a, b, d);
}

CudaStatus LaunchExchange(const int32_t* in, int32_t* out) {
  return Launch({.threads = kWarp}, nullptr, &ExchangeKernel, in, out);
}

CudaStatus LaunchArithmetic(const float* x, const float* y, size_t count, uint32_t* out) {
  return Launch({.grid_x = 8, .threads = 128}, nullptr, &ArithmeticKernel, x, y, count, out);
}

CudaStatus LaunchAddRows(const int32_t* in, int rows, int32_t* out) {
  return Launch({.threads = 128, .shared_bytes = kRing * kRowInts * sizeof(int32_t)}, nullptr,
                &AddRowsKernel, in, rows, out);
}

CudaStatus LaunchNamedSync(uint32_t* out) {
  return Launch({.threads = 128, .shared_bytes = sizeof(uint32_t)}, nullptr, &NamedSyncKernel, out);
}

CudaStatus LaunchTmaBox(const TensorMap& map, int32_t x, int32_t y, uint8_t* out) {
  return Launch({.threads = kWarp, .shared_bytes = 2048 + sizeof(uint64_t)}, nullptr, &TmaBoxKernel,
                map, x, y, out);
}

CudaStatus LaunchWgmma(int tile_columns, bool signed_a, int cluster, const TensorMap& map_a,
                       const TensorMap& map_b, int rows, int columns, int k_tiles, int32_t* out) {
  switch (tile_columns) {
    case 64:
      return LaunchWgmmaOf<64>(signed_a, cluster, map_a, map_b, rows, columns, k_tiles, out);
    case 96:
      return LaunchWgmmaOf<96>(signed_a, cluster, map_a, map_b, rows, columns, k_tiles, out);
    case 128:
      return LaunchWgmmaOf<128>(signed_a, cluster, map_a, map_b, rows, columns, k_tiles, out);
    case 160:
      return LaunchWgmmaOf<160>(signed_a, cluster, map_a, map_b, rows, columns, k_tiles, out);
    case 192:
      return LaunchWgmmaOf<192>(signed_a, cluster, map_a, map_b, rows, columns, k_tiles, out);
    case 224:
      return LaunchWgmmaOf<224>(signed_a, cluster, map_a, map_b, rows, columns, k_tiles, out);
    case 256:
      return LaunchWgmmaOf<256>(signed_a, cluster, map_a, map_b, rows, columns, k_tiles, out);
    default:
      return Fail(CudaStatus::kInvalidArgument, "no such tile");
  }
}

}  // namespace octavo::cuda::testing
