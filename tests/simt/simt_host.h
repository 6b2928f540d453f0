// The primitives of kernels/cuda on the emulation: the contracts are those of ptx_basic.h,
// ptx_mma.h and ptx_hopper.h there.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "octavo/half.h"
#include "simt_launch.h"

namespace octavo::cuda {

namespace simt {

// Where the running fiber is.
struct Position {
  int thread = 0;
  int block[3] = {};
  int grid[2] = {};
  int cluster_rank = 0;
  unsigned char* shared = nullptr;
};
extern constinit thread_local const Position* position;

uint32_t ShuffleBits(uint32_t bits, int source_lane);
uint32_t ShuffleXorBits(uint32_t bits, int mask);
void MmaI8(int32_t* d, const uint32_t* a, const uint32_t* b, bool is_signed);
void CpAsyncWait(int pending);
void WgmmaWait(int pending);
void WgmmaI8(int columns, bool is_signed, int32_t* d, uint64_t a, uint64_t b, bool accumulate);
void ChangeRegisters(int registers);

}  // namespace simt

inline int ThreadIdx() { return simt::position->thread; }
inline int LaneIdx() { return simt::position->thread & 31; }
int WarpIdx();
inline int BlockX() { return simt::position->block[0]; }
inline int BlockY() { return simt::position->block[1]; }
inline int BlockZ() { return simt::position->block[2]; }
inline int GridX() { return simt::position->grid[0]; }
inline int GridY() { return simt::position->grid[1]; }
inline int ClusterRank() { return simt::position->cluster_rank; }
inline unsigned char* SharedMemory() { return simt::position->shared; }
uint32_t SharedAddress(const void* shared);

void BlockSync();
void NamedSync(int id, int threads);
void NamedArrive(int id, int threads);
void WarpSync();
void ClusterSync();

template <class T>
T Shuffle(T value, int source_lane) {
  return std::bit_cast<T>(simt::ShuffleBits(std::bit_cast<uint32_t>(value), source_lane));
}
template <class T>
T ShuffleXor(T value, int mask) {
  return std::bit_cast<T>(simt::ShuffleXorBits(std::bit_cast<uint32_t>(value), mask));
}
inline uint32_t WarpMax(uint32_t value) {
  for (int mask = 16; mask > 0; mask /= 2) {
    const uint32_t other = ShuffleXor(value, mask);
    if (other > value) value = other;
  }
  return value;
}
inline int32_t WarpSum(int32_t value) {
  for (int mask = 16; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}
uint32_t Ballot(bool bit);
inline int PopCount(uint32_t bits) { return std::popcount(bits); }
inline int PopCount(uint64_t bits) { return std::popcount(bits); }

struct alignas(16) Vec16 {
  uint32_t x[4];
};
Vec16 Load16(const void* global);
Vec16 LoadStream16(const void* global);
void Store16(void* global, Vec16 v);
inline void AtomicOr(uint32_t* global, uint32_t bits) { *global |= bits; }

void CpAsync16(void* shared, const void* global, bool valid);
void CpAsyncCommit();
template <int kPending>
void CpAsyncWait() {
  simt::CpAsyncWait(kPending);
}

void LoadMatrix4(uint32_t (&r)[4], const void* shared_row);
template <bool kSignedA>
void MmaI8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::MmaI8(d, a, b, kSignedA);
}
void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void MmaBF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

void MbarrierInit(uint64_t* barrier, uint32_t count);
void MbarrierInitFence();
void MbarrierArrive(uint64_t* barrier);
void MbarrierArriveExpectTx(uint64_t* barrier, uint32_t bytes);
void MbarrierArriveCluster(uint64_t* mine, uint32_t cta_rank);
void MbarrierWait(uint64_t* barrier, uint32_t parity);
void StoreCluster16(void* mine, uint32_t cta_rank, const int32_t (&words)[4], uint64_t* barrier);

void PrefetchTensorMap(const TensorMap* map);
void TmaLoad2D(void* shared, const TensorMap* map, int32_t x, int32_t y, uint64_t* barrier);
void TmaLoad2DMulticast(void* shared, const TensorMap* map, int32_t x, int32_t y, uint64_t* barrier,
                        uint16_t cta_mask);
inline void SharedToAsyncFence() {}

uint64_t SmemDescriptor(const void* shared);
void WgmmaFence();
void WgmmaCommit();
template <int kPending>
void WgmmaWait() {
  simt::WgmmaWait(kPending);
}
template <int kCount>
void WgmmaFenceRegisters(int32_t (&)[kCount]) {}
template <int kN, bool kSignedA>
void WgmmaI8(int32_t (&d)[kN / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kN >= 64 && kN <= 256 && kN % 32 == 0);
  simt::WgmmaI8(kN, kSignedA, d, a, b, accumulate);
}
template <int kRegisters>
void RegistersIncrease() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  simt::ChangeRegisters(kRegisters);
}
template <int kRegisters>
void RegistersDecrease() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  simt::ChangeRegisters(kRegisters);
}

void WaitForPreviousKernel();
inline void AllowNextKernel() {}

// Built with -ffp-contract=off.
inline float MulRn(float a, float b) { return a * b; }
inline float AddRn(float a, float b) { return a + b; }
inline float SubRn(float a, float b) { return a - b; }
inline float DivRn(float a, float b) { return a / b; }
inline float FmaRn(float a, float b, float c) { return std::fma(a, b, c); }
inline float RintF(float value) { return std::nearbyint(value); }
inline int32_t RoundToInt(float value) {
  if (std::isnan(value)) return 0;
  if (value >= 0x1p31f) return INT32_MAX;
  if (value < -0x1p31f) return INT32_MIN;
  return static_cast<int32_t>(RintF(value));
}
inline float IntToFloat(int32_t value) { return static_cast<float>(value); }
inline float LongToFloat(int64_t value) { return static_cast<float>(value); }

inline float MinF(float a, float b) { return std::fmin(a, b); }
inline float MaxF(float a, float b) { return std::fmax(a, b); }

using kernels::BFloat16ToFloat;
using kernels::FloatToBFloat16;
using kernels::FloatToHalf;
using kernels::HalfToFloat;
template <bool kHalf>
uint32_t MinPair(uint32_t a, uint32_t b) {
  const auto widen = [](uint32_t bits) {
    const auto half = static_cast<uint16_t>(bits);
    return kHalf ? HalfToFloat(half) : BFloat16ToFloat(half);
  };
  const uint32_t low = widen(b) < widen(a) ? b : a, high = widen(b >> 16) < widen(a >> 16) ? b : a;
  return (low & 0xffffu) | (high & 0xffff0000u);
}
template <bool kHalf>
uint32_t MaxPair(uint32_t a, uint32_t b) {
  return MinPair<kHalf>(a ^ 0x80008000u, b ^ 0x80008000u) ^ 0x80008000u;
}
template <bool kSigned>
uint32_t PackSaturated(const int32_t (&value)[4]) {
  constexpr int32_t kLow = kSigned ? -128 : 0, kHigh = kSigned ? 127 : 255;
  uint32_t packed = 0;
  for (int i = 0; i < 4; ++i) {
    const int32_t byte = value[i] < kLow ? kLow : value[i] > kHigh ? kHigh : value[i];
    packed |= static_cast<uint32_t>(static_cast<uint8_t>(byte)) << (8 * i);
  }
  return packed;
}
template <bool kSigned>
int32_t SumBytes(uint32_t bytes, int32_t sum) {
  for (int i = 0; i < 4; ++i) {
    const auto byte = static_cast<uint8_t>(bytes >> (8 * i));
    sum += kSigned ? static_cast<int8_t>(byte) : byte;
  }
  return sum;
}
inline uint32_t MaxU16x2(uint32_t a, uint32_t b) {
  return std::max(a & 0xffffu, b & 0xffffu) | std::max(a & 0xffff0000u, b & 0xffff0000u);
}
inline uint32_t PackHalf2(float low, float high) {
  return FloatToHalf(low) | static_cast<uint32_t>(FloatToHalf(high)) << 16;
}
inline uint32_t PackBFloat162(float low, float high) {
  return FloatToBFloat16(low) | static_cast<uint32_t>(FloatToBFloat16(high)) << 16;
}

}  // namespace octavo::cuda
