// What came with compute capability 9.0: clusters, mbarriers, the tensor memory accelerator (TMA),
// dependent launches, and of sm_90a alone wgmma and setmaxnreg. See primitives.h. On an
// architecture that lacks a function it traps, unless it says that it does nothing there.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/ptx_basic.h"
#include "kernels/cuda/qualifiers.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define OCTAVO_HAS_WGMMA 1
#else
#define OCTAVO_HAS_WGMMA 0
#endif

namespace octavo::cuda {

// Clusters. 0 where there are none.
OCTAVO_DEVICE int ClusterRank() {
#if __CUDA_ARCH__ >= 900
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
#else
  return 0;
#endif
}

// A barrier of all threads of the cluster that have not exited; memory is consistent after it.
OCTAVO_DEVICE void ClusterSync() {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
#else
  __trap();
#endif
}

// Mbarriers: 8 bytes of shared memory. A phase completes when `count` threads have arrived and all
// announced bytes have come; then the next one begins, with the same count.
OCTAVO_DEVICE void MbarrierInit(uint64_t* barrier, uint32_t count) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)), "r"(count)
               : "memory");
#else
  __trap();
#endif
}
// After the thread's MbarrierInit and before the BlockSync or ClusterSync behind it, so that TMA
// and the other blocks of the cluster find the barriers ready.
OCTAVO_DEVICE void MbarrierInitFence() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  __trap();
#endif
}
OCTAVO_DEVICE void MbarrierArrive(uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(barrier)) : "memory");
#else
  __trap();
#endif
}
// Announces `bytes` that copies will bring, then arrives.
OCTAVO_DEVICE void MbarrierArriveExpectTx(uint64_t* barrier, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(barrier)),
      "r"(bytes)
      : "memory");
#else
  __trap();
#endif
}
// Arrives at the barrier that lies in block `cta_rank` of the cluster where `mine` lies in this
// one. It orders no stores of this thread for the other block (release at the cluster's scope would
// wait for all of them): for buffers that were only read.
OCTAVO_DEVICE void MbarrierArriveCluster(uint64_t* mine, uint32_t cta_rank) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(SharedAddress(mine)),
      "r"(cta_rank)
      : "memory");
#else
  __trap();
#endif
}
// Until the phase of this parity has completed: 0 for the first phase, then 1, 0, …
OCTAVO_DEVICE void MbarrierWait(uint64_t* barrier, uint32_t parity) {
#if __CUDA_ARCH__ >= 900
  uint32_t done;
  do {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n"
        "}"
        : "=r"(done)
        : "r"(SharedAddress(barrier)), "r"(parity)
        : "memory");
  } while (done == 0);
#else
  __trap();
#endif
}

// In the background, 16 bytes to where `mine` (16-byte aligned) lies in block `cta_rank` of the
// cluster, counted there by the barrier at the place of `barrier`.
OCTAVO_DEVICE void StoreCluster16(void* mine, uint32_t cta_rank, const int32_t (&words)[4],
                                  uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .b32 target, counter;\n"
      "mapa.shared::cluster.u32 target, %0, %2;\n"
      "mapa.shared::cluster.u32 counter, %1, %2;\n"
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32"
      " [target], {%3, %4, %5, %6}, [counter];\n"
      "}" ::"r"(SharedAddress(mine)),
      "r"(SharedAddress(barrier)), "r"(cta_rank), "r"(words[0]), "r"(words[1]), "r"(words[2]),
      "r"(words[3])
      : "memory");
#else
  __trap();
#endif
}

// TMA. A tensor map describes a matrix of bytes in global memory and the box that one load brings;
// launch.h makes it. The box's rows of up to 128 bytes are swizzled: the 16-byte chunk c of a
// 128-byte line lies at c ^ (line % 8), lines counted from a 1024-byte boundary of shared memory.
using TensorMap = CUtensorMap;

OCTAVO_DEVICE void PrefetchTensorMap(const TensorMap* map) {
#if __CUDA_ARCH__ >= 900
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#else
  __trap();
#endif
}
// One thread loads the box at (x bytes, y rows) to `shared`, 128-byte aligned, and `barrier`
// counts the whole box's bytes, those out of bounds too, which become 0.
OCTAVO_DEVICE void TmaLoad2D(void* shared, const TensorMap* map, int32_t x, int32_t y,
                             uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];" ::"r"(SharedAddress(shared)),
      "l"(map), "r"(x), "r"(y), "r"(SharedAddress(barrier))
      : "memory");
#else
  __trap();
#endif
}
// The same to each block of the cluster in cta_mask, at the same place of its shared memory,
// counted by its barrier at the same place as `barrier`.
OCTAVO_DEVICE void TmaLoad2DMulticast(void* shared, const TensorMap* map, int32_t x, int32_t y,
                                      uint64_t* barrier, uint16_t cta_mask) {
#if OCTAVO_HAS_WGMMA
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(SharedAddress(shared)),
      "l"(map), "r"(x), "r"(y), "r"(SharedAddress(barrier)), "h"(cta_mask)
      : "memory");
#else
  __trap();
#endif
}
// Between a thread's ordinary stores to shared memory and a barrier after which wgmma reads them.
OCTAVO_DEVICE void SharedToAsyncFence() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  __trap();
#endif
}

// Wgmma: one product of the four warps of a warp group, in the background.
//
// SmemDescriptor describes a tile by rows of 128 bytes along k, swizzled as TMA leaves it, with
// groups of 8 rows 1024 bytes apart. Within the row, k advances by adding bytes >> 4.
OCTAVO_DEVICE uint64_t SmemDescriptor(const void* shared) {
  const uint64_t address = (SharedAddress(shared) & 0x3ffffu) >> 4;
  const uint64_t leading = 1;         // unused by this layout
  const uint64_t stride = 1024 >> 4;  // from one group of 8 rows to the next
  const uint64_t swizzle_128 = 1;
  return address | leading << 16 | stride << 32 | swizzle_128 << 62;
}
// Before the first wgmma, and wherever the threads touched the accumulators.
OCTAVO_DEVICE void WgmmaFence() {
#if OCTAVO_HAS_WGMMA
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  __trap();
#endif
}
OCTAVO_DEVICE void WgmmaCommit() {
#if OCTAVO_HAS_WGMMA
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  __trap();
#endif
}
// Until at most the kPending youngest committed groups are under way.
template <int kPending>
OCTAVO_DEVICE void WgmmaWait() {
#if OCTAVO_HAS_WGMMA
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#else
  __trap();
#endif
}
// Keeps the compiler from moving accumulators, or what reads them, across this point.
template <int kCount>
OCTAVO_DEVICE void WgmmaFenceRegisters(int32_t (&d)[kCount]) {
  OCTAVO_UNROLL
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(d[i])::"memory");
}

// "%t0,%t1,…,%t9", and the operands d[i] … d[i + 15].
#define OCTAVO_TEN(t) \
  "%" #t "0,%" #t "1,%" #t "2,%" #t "3,%" #t "4,%" #t "5,%" #t "6,%" #t "7,%" #t "8,%" #t "9"
#define OCTAVO_D4(i) "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3])
#define OCTAVO_D16(i) OCTAVO_D4(i), OCTAVO_D4(i + 4), OCTAVO_D4(i + 8), OCTAVO_D4(i + 12)
#define OCTAVO_D32(i) OCTAVO_D16(i), OCTAVO_D16(i + 16)
// The operands after the accumulators are numbered %a, %b and %flag.
#define OCTAVO_WGMMA(n, type, list, number_a, number_b, number_flag, ...)                \
  asm volatile(                                                                          \
      "{\n"                                                                              \
      ".reg .pred accumulate;\n"                                                         \
      "setp.ne.b32 accumulate, %" number_flag                                            \
      ", 0;\n"                                                                           \
      "wgmma.mma_async.sync.aligned.m64n" n "k32.s32." type ".s8 {" list "}, %" number_a \
      ", %" number_b                                                                     \
      ", accumulate;\n"                                                                  \
      "}"                                                                                \
      : __VA_ARGS__                                                                      \
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)))
#define OCTAVO_WGMMA_64(type)                                                                 \
  OCTAVO_WGMMA("64", type, OCTAVO_TEN() "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) ",%30,%31", "32", \
               "33", "34", OCTAVO_D32(0))
#define OCTAVO_WGMMA_96(type) \
  OCTAVO_WGMMA("96", type,                                                                \
               OCTAVO_TEN() "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) ","     \
               "%40,%41,%42,%43,%44,%45,%46,%47",                                         \
               "48", "49", "50", OCTAVO_D32(0), OCTAVO_D16(32))
#define OCTAVO_WGMMA_128(type)                                                                    \
  OCTAVO_WGMMA("128", type,                                                                       \
               OCTAVO_TEN() "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) "," OCTAVO_TEN( \
                   4) "," OCTAVO_TEN(5) ",%60,%61,%62,%63",                                       \
               "64", "65", "66", OCTAVO_D32(0), OCTAVO_D32(32))
#define OCTAVO_WGMMA_160(type)                                                                    \
  OCTAVO_WGMMA("160", type,                                                                       \
               OCTAVO_TEN() "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) "," OCTAVO_TEN( \
                   4) "," OCTAVO_TEN(5) "," OCTAVO_TEN(6) "," OCTAVO_TEN(7),                      \
               "80", "81", "82", OCTAVO_D32(0), OCTAVO_D32(32), OCTAVO_D16(64))
#define OCTAVO_WGMMA_192(type) \
  OCTAVO_WGMMA("192", type,                                                               \
               OCTAVO_TEN() "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) ","     \
               OCTAVO_TEN(4) "," OCTAVO_TEN(5) "," OCTAVO_TEN(6) "," OCTAVO_TEN(7) ","    \
               OCTAVO_TEN(8) ",%90,%91,%92,%93,%94,%95",                                  \
               "96", "97", "98", OCTAVO_D32(0), OCTAVO_D32(32), OCTAVO_D32(64))
#define OCTAVO_WGMMA_224(type) \
  OCTAVO_WGMMA("224", type,                                                               \
               OCTAVO_TEN() "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) ","     \
               OCTAVO_TEN(4) "," OCTAVO_TEN(5) "," OCTAVO_TEN(6) "," OCTAVO_TEN(7) ","    \
               OCTAVO_TEN(8) "," OCTAVO_TEN(9) "," OCTAVO_TEN(10) ",%110,%111",           \
               "112", "113", "114", OCTAVO_D32(0), OCTAVO_D32(32), OCTAVO_D32(64),        \
               OCTAVO_D16(96))
#define OCTAVO_WGMMA_256(type) \
  OCTAVO_WGMMA("256", type,                                                               \
               OCTAVO_TEN() "," OCTAVO_TEN(1) "," OCTAVO_TEN(2) "," OCTAVO_TEN(3) ","     \
               OCTAVO_TEN(4) "," OCTAVO_TEN(5) "," OCTAVO_TEN(6) "," OCTAVO_TEN(7) ","    \
               OCTAVO_TEN(8) "," OCTAVO_TEN(9) "," OCTAVO_TEN(10) "," OCTAVO_TEN(11) ","  \
               "%120,%121,%122,%123,%124,%125,%126,%127",                                 \
               "128", "129", "130", OCTAVO_D32(0), OCTAVO_D32(32), OCTAVO_D32(64),        \
               OCTAVO_D32(96))

// d = A * B^T (+ d where accumulate), int32 that wraps: A 64 x 32 of int8 (kSignedA) or uint8, B
// kN x 32 of int8, both in shared memory. Warp w of the group has rows 16w .. 16w+15; there, with
// g = lane / 4 and t = lane % 4, d[4j], d[4j+1] are row g, columns 8j + 2t, 8j + 2t + 1, and
// d[4j+2], d[4j+3] the same of row g + 8.
template <int kN, bool kSignedA>
OCTAVO_DEVICE void WgmmaI8(int32_t (&d)[kN / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kN >= 64 && kN <= 256 && kN % 32 == 0);
#if OCTAVO_HAS_WGMMA
  if constexpr (kN == 64 && kSignedA) OCTAVO_WGMMA_64("s8");
  if constexpr (kN == 64 && !kSignedA) OCTAVO_WGMMA_64("u8");
  if constexpr (kN == 96 && kSignedA) OCTAVO_WGMMA_96("s8");
  if constexpr (kN == 96 && !kSignedA) OCTAVO_WGMMA_96("u8");
  if constexpr (kN == 128 && kSignedA) OCTAVO_WGMMA_128("s8");
  if constexpr (kN == 128 && !kSignedA) OCTAVO_WGMMA_128("u8");
  if constexpr (kN == 160 && kSignedA) OCTAVO_WGMMA_160("s8");
  if constexpr (kN == 160 && !kSignedA) OCTAVO_WGMMA_160("u8");
  if constexpr (kN == 192 && kSignedA) OCTAVO_WGMMA_192("s8");
  if constexpr (kN == 192 && !kSignedA) OCTAVO_WGMMA_192("u8");
  if constexpr (kN == 224 && kSignedA) OCTAVO_WGMMA_224("s8");
  if constexpr (kN == 224 && !kSignedA) OCTAVO_WGMMA_224("u8");
  if constexpr (kN == 256 && kSignedA) OCTAVO_WGMMA_256("s8");
  if constexpr (kN == 256 && !kSignedA) OCTAVO_WGMMA_256("u8");
#else
  __trap();
#endif
}
#undef OCTAVO_TEN
#undef OCTAVO_D4
#undef OCTAVO_D16
#undef OCTAVO_D32
#undef OCTAVO_WGMMA
#undef OCTAVO_WGMMA_64
#undef OCTAVO_WGMMA_96
#undef OCTAVO_WGMMA_128
#undef OCTAVO_WGMMA_160
#undef OCTAVO_WGMMA_192
#undef OCTAVO_WGMMA_224
#undef OCTAVO_WGMMA_256

// Moves the warp group's registers per thread up or down to kRegisters, a multiple of 8. Nothing
// without sm_90a.
template <int kRegisters>
OCTAVO_DEVICE void RegistersIncrease() {
#if OCTAVO_HAS_WGMMA
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}
template <int kRegisters>
OCTAVO_DEVICE void RegistersDecrease() {
#if OCTAVO_HAS_WGMMA
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}

// Programmatic dependent launch (LaunchConfig::overlap). Nothing below sm_90, where kernels do not
// overlap. Until the kernels before this one in the stream have finished and their writes are seen:
OCTAVO_DEVICE void WaitForPreviousKernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// The next kernel may start when all blocks have called this or exited.
OCTAVO_DEVICE void AllowNextKernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace octavo::cuda
