// The primitives that every kernel needs; see primitives.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/qualifiers.h"

namespace octavo::cuda {

// Where a thread is. Blocks have only an x dimension.
OCTAVO_DEVICE int ThreadIdx() { return static_cast<int>(threadIdx.x); }
OCTAVO_DEVICE int LaneIdx() { return static_cast<int>(threadIdx.x & 31); }
// The same value in all lanes, and the compiler knows it. All lanes call it together.
OCTAVO_DEVICE int WarpIdx() {
  return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x >> 5), 0);
}
OCTAVO_DEVICE int BlockX() { return static_cast<int>(blockIdx.x); }
OCTAVO_DEVICE int BlockY() { return static_cast<int>(blockIdx.y); }
OCTAVO_DEVICE int BlockZ() { return static_cast<int>(blockIdx.z); }
OCTAVO_DEVICE int GridX() { return static_cast<int>(gridDim.x); }
OCTAVO_DEVICE int GridY() { return static_cast<int>(gridDim.y); }

// The block's dynamic shared memory, 1024-byte aligned.
OCTAVO_DEVICE unsigned char* SharedMemory() {
  extern __shared__ __align__(1024) unsigned char octavo_shared_memory[];
  return octavo_shared_memory;
}
OCTAVO_DEVICE uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Synchronization. All lanes of a warp come to the same call together.
OCTAVO_DEVICE void BlockSync() { __syncthreads(); }
// Barrier `id` (1 to 15; 0 is BlockSync's) of `threads` threads, a multiple of 32. It counts whole
// warps: lanes that still write, in a branch of their own, must not be counted with the others.
OCTAVO_DEVICE void NamedSync(int id, int threads) {
  __syncwarp();
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// The same without waiting: who meets with NamedSync waits for these too.
OCTAVO_DEVICE void NamedArrive(int id, int threads) {
  __syncwarp();
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
OCTAVO_DEVICE void WarpSync() { __syncwarp(); }

// Warp exchange, by all 32 lanes: T is int32_t, uint32_t or float.
template <class T>
OCTAVO_DEVICE T Shuffle(T value, int source_lane) {
  return __shfl_sync(0xffffffffu, value, source_lane);
}
template <class T>
OCTAVO_DEVICE T ShuffleXor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
// Over the warp, to all lanes.
OCTAVO_DEVICE uint32_t WarpMax(uint32_t value) {
#if __CUDA_ARCH__ >= 800
  return __reduce_max_sync(0xffffffffu, value);
#else
  for (int mask = 16; mask > 0; mask /= 2) {
    const uint32_t other = ShuffleXor(value, mask);
    if (other > value) value = other;
  }
  return value;
#endif
}
OCTAVO_DEVICE int32_t WarpSum(int32_t value) {
#if __CUDA_ARCH__ >= 800
  return __reduce_add_sync(0xffffffffu, value);
#else
  for (int mask = 16; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
#endif
}
OCTAVO_DEVICE uint32_t Ballot(bool bit) { return __ballot_sync(0xffffffffu, bit); }
OCTAVO_DEVICE int PopCount(uint32_t bits) { return __popc(bits); }
OCTAVO_DEVICE int PopCount(uint64_t bits) { return __popcll(bits); }

// Global memory, 16 bytes at 16-byte aligned addresses.
struct alignas(16) Vec16 {
  uint32_t x[4];
};

OCTAVO_DEVICE Vec16 Load16(const void* global) { return *static_cast<const Vec16*>(global); }

// For what is read once and not written while the kernel runs (weights): leaves no line in L1.
OCTAVO_DEVICE Vec16 LoadStream16(const void* global) {
  Vec16 v;
#if __CUDA_ARCH__ >= 800
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
#else
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
#endif
               : "=r"(v.x[0]), "=r"(v.x[1]), "=r"(v.x[2]), "=r"(v.x[3])
               : "l"(__cvta_generic_to_global(global)));
  return v;
}

OCTAVO_DEVICE void Store16(void* global, Vec16 v) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(global)),
               "r"(v.x[0]), "r"(v.x[1]), "r"(v.x[2]), "r"(v.x[3])
               : "memory");
}

OCTAVO_DEVICE void AtomicOr(uint32_t* global, uint32_t bits) { atomicOr(global, bits); }

// Copies 16 bytes to shared memory in the background: there after CpAsyncWait of its group by this
// thread and a barrier for the others. !valid: 16 zero bytes, `global` is not read. sm_75 copies at
// once.
OCTAVO_DEVICE void CpAsync16(void* shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(SharedAddress(shared)),
      "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
      : "memory");
#else
  Vec16 v = {{0, 0, 0, 0}};
  if (valid) v = Load16(global);
  *static_cast<Vec16*>(shared) = v;
#endif
}
// Closes this thread's group of copies, an empty one too.
OCTAVO_DEVICE void CpAsyncCommit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until at most the kPending youngest groups of this thread are under way.
template <int kPending>
OCTAVO_DEVICE void CpAsyncWait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// Bytes and halves of words.
//
// Four int32 to bytes, the first one lowest, each the nearest int8 (kSigned) or uint8.
template <bool kSigned>
OCTAVO_DEVICE uint32_t PackSaturated(const int32_t (&value)[4]) {
  uint32_t packed;
  if constexpr (kSigned) {
    asm("{\n"
        ".reg .b32 upper;\n"
        "cvt.pack.sat.s8.s32.b32 upper, %4, %3, 0;\n"
        "cvt.pack.sat.s8.s32.b32 %0, %2, %1, upper;\n"
        "}"
        : "=r"(packed)
        : "r"(value[0]), "r"(value[1]), "r"(value[2]), "r"(value[3]));
  } else {
    asm("{\n"
        ".reg .b32 upper;\n"
        "cvt.pack.sat.u8.s32.b32 upper, %4, %3, 0;\n"
        "cvt.pack.sat.u8.s32.b32 %0, %2, %1, upper;\n"
        "}"
        : "=r"(packed)
        : "r"(value[0]), "r"(value[1]), "r"(value[2]), "r"(value[3]));
  }
  return packed;
}
template <bool kSigned>
OCTAVO_DEVICE int32_t SumBytes(uint32_t bytes, int32_t sum) {
  if constexpr (kSigned) {
    return __dp4a(static_cast<int32_t>(bytes), 0x01010101, sum);
  } else {
    return static_cast<int32_t>(__dp4a(bytes, 0x01010101u, static_cast<uint32_t>(sum)));
  }
}
OCTAVO_DEVICE uint32_t MaxU16x2(uint32_t a, uint32_t b) { return __vmaxu2(a, b); }

// Arithmetic with one rounding to nearest even per call, never contracted.
OCTAVO_DEVICE float MulRn(float a, float b) { return __fmul_rn(a, b); }
OCTAVO_DEVICE float AddRn(float a, float b) { return __fadd_rn(a, b); }
OCTAVO_DEVICE float SubRn(float a, float b) { return __fsub_rn(a, b); }
OCTAVO_DEVICE float DivRn(float a, float b) { return __fdiv_rn(a, b); }
OCTAVO_DEVICE float FmaRn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
// To nearest even; saturates, NaN gives 0.
OCTAVO_DEVICE int32_t RoundToInt(float value) { return __float2int_rn(value); }
OCTAVO_DEVICE float MinF(float a, float b) { return fminf(a, b); }  // of numbers
OCTAVO_DEVICE float MaxF(float a, float b) { return fmaxf(a, b); }
OCTAVO_DEVICE float RintF(float value) { return rintf(value); }
OCTAVO_DEVICE float IntToFloat(int32_t value) { return __int2float_rn(value); }
OCTAVO_DEVICE float LongToFloat(int64_t value) { return __ll2float_rn(value); }

// 16-bit floats as their bits. Narrowing rounds to nearest even, overflows to infinity and keeps a
// NaN a NaN.
OCTAVO_DEVICE float HalfToFloat(uint16_t half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
}
OCTAVO_DEVICE uint16_t FloatToHalf(float value) {
  uint16_t half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}
OCTAVO_DEVICE float BFloat16ToFloat(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
// The smaller and the larger of two pairs of 16-bit floats (kHalf: fp16, else bf16), NaN excluded.
template <bool kHalf, bool kSmaller>
OCTAVO_DEVICE uint32_t PickPair(uint32_t a, uint32_t b) {
#if __CUDA_ARCH__ >= 800
  uint32_t picked;
  if constexpr (kHalf && kSmaller) asm("min.f16x2 %0, %1, %2;" : "=r"(picked) : "r"(a), "r"(b));
  if constexpr (kHalf && !kSmaller) asm("max.f16x2 %0, %1, %2;" : "=r"(picked) : "r"(a), "r"(b));
  if constexpr (!kHalf && kSmaller) asm("min.bf16x2 %0, %1, %2;" : "=r"(picked) : "r"(a), "r"(b));
  if constexpr (!kHalf && !kSmaller) asm("max.bf16x2 %0, %1, %2;" : "=r"(picked) : "r"(a), "r"(b));
  return picked;
#else
  const auto widen = [](uint32_t bits) {
    return kHalf ? HalfToFloat(static_cast<uint16_t>(bits))
                 : BFloat16ToFloat(static_cast<uint16_t>(bits));
  };
  const auto pick = [&](uint32_t shift) {
    const float first = widen(a >> shift), second = widen(b >> shift);
    return (kSmaller ? second < first : second > first) ? b : a;
  };
  return (pick(0) & 0xffffu) | (pick(16) & 0xffff0000u);
#endif
}
template <bool kHalf>
OCTAVO_DEVICE uint32_t MinPair(uint32_t a, uint32_t b) {
  return PickPair<kHalf, true>(a, b);
}
template <bool kHalf>
OCTAVO_DEVICE uint32_t MaxPair(uint32_t a, uint32_t b) {
  return PickPair<kHalf, false>(a, b);
}
// Two at once, `low` in the lower half.
OCTAVO_DEVICE uint32_t PackHalf2(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#else
  return FloatToHalf(low) | static_cast<uint32_t>(FloatToHalf(high)) << 16;
#endif
}
OCTAVO_DEVICE uint32_t PackBFloat162(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#else
  const auto narrow = [](float value) {
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  };
  return narrow(low) | narrow(high) << 16;
#endif
}
OCTAVO_DEVICE uint16_t FloatToBFloat16(float value) {
  return static_cast<uint16_t>(PackBFloat162(value, 0.0f));
}

}  // namespace octavo::cuda
