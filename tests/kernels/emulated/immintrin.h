// In place of the compiler's <immintrin.h>: those intrinsics of AVX-VNNI, AVX-512 and AMX that
// kernels/cpu uses, in plain loops, so that its files of these instruction sets run on any machine
// with AVX2. Semantics are those of Intel's Intrinsics Guide. What the processor would fault on, a
// test fails on: tiles that are not configured, operands whose sizes do not fit.
#pragma once

#include_next <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace octavo::emulated {

// The lanes of a register as values of type T.
template <class T, size_t kBytes = 64>
struct Lanes {
  static constexpr size_t kCount = kBytes / sizeof(T);
  T v[kCount] = {};

  Lanes() = default;
  template <class Register>
  Lanes(const Register& from) {
    static_assert(sizeof(from) == kBytes);
    std::memcpy(v, &from, kBytes);
  }
  template <class Register>
  Register as() const {
    Register result;
    static_assert(sizeof(result) == kBytes);
    std::memcpy(&result, v, kBytes);
    return result;
  }
  operator __m512() const { return as<__m512>(); }
  operator __m512i() const { return as<__m512i>(); }
};
using F32 = Lanes<float>;
using I32 = Lanes<int32_t>;
using U32 = Lanes<uint32_t>;
using I64 = Lanes<int64_t>;

template <class T, class F>
Lanes<T> Each(F f) {
  Lanes<T> result;
  for (size_t i = 0; i < result.kCount; ++i) result.v[i] = f(i);
  return result;
}
template <class Mask, class F>
Mask EachBit(size_t count, F f) {
  unsigned bits = 0;
  for (size_t i = 0; i < count; ++i) bits |= unsigned{f(i)} << i;
  return static_cast<Mask>(bits);
}
inline bool Has(unsigned mask, size_t i) { return (mask >> i & 1) != 0; }

// Only lanes of the mask are touched in memory.
template <class T, size_t kBytes = 64>
Lanes<T, kBytes> LoadLanes(unsigned mask, const void* from) {
  Lanes<T, kBytes> result;
  for (size_t i = 0; i < result.kCount; ++i) {
    if (Has(mask, i))
      std::memcpy(&result.v[i], static_cast<const char*>(from) + i * sizeof(T), sizeof(T));
  }
  return result;
}
template <class T, size_t kBytes>
void StoreLanes(void* to, unsigned mask, const Lanes<T, kBytes>& lanes) {
  for (size_t i = 0; i < lanes.kCount; ++i) {
    if (Has(mask, i)) std::memcpy(static_cast<char*>(to) + i * sizeof(T), &lanes.v[i], sizeof(T));
  }
}
template <class T>
Lanes<T> Fill(T value) {
  Lanes<T> result;
  for (T& lane : result.v) lane = value;
  return result;
}
template <class Register>
Register LoadAll(const void* from) {
  Register result;
  std::memcpy(&result, from, sizeof(result));
  return result;
}

[[noreturn]] inline void Fault(const char* what) {
  std::fprintf(stderr, "emulated processor: %s\n", what);
  std::abort();
}
inline void CheckAligned(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0)
    Fault("general protection: not aligned to 64 bytes");
}

inline __m512 maskz_loadu_ps(unsigned mask, const void* p) { return LoadLanes<float>(mask, p); }
inline __m512i maskz_loadu_epi32(unsigned mask, const void* p) {
  return LoadLanes<int32_t>(mask, p);
}
inline __m256i maskz_loadu_epi16_256(unsigned mask, const void* p) {
  return LoadLanes<uint16_t, 32>(mask, p).as<__m256i>();
}
inline __m256i maskz_loadu_epi32_256(unsigned mask, const void* p) {
  return LoadLanes<int32_t, 32>(mask, p).as<__m256i>();
}
inline __m512i set1_epi32(int32_t x) { return Fill(x); }
inline __m512i set1_epi64(int64_t x) { return Fill(x); }
inline __m512i set1_epi8(int8_t x) { return Fill(x); }
inline __m512 set1_ps(float x) { return Fill(x); }

// ---- Floats -----------------------------------------------------------------------------------

inline __m512 Half(const F32& all, __m256 (*f)(__m256)) {
  F32 result;
  for (size_t i = 0; i < 16; i += 8) _mm256_storeu_ps(result.v + i, f(_mm256_loadu_ps(all.v + i)));
  return result;
}
inline __m512 fmadd_ps(F32 a, F32 b, F32 c) {
  return Each<float>([&](size_t i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline __m512 roundscale_ps(F32 a) {
  return Half(a, [](__m256 v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  });
}
inline __m512i cvtps_epi32(F32 a) {
  I32 result;
  for (size_t i = 0; i < 16; i += 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(result.v + i),
                        _mm256_cvtps_epi32(_mm256_loadu_ps(a.v + i)));
  }
  return result;
}
inline __m512 cvtph_ps(__m256i halves) {
  Lanes<uint16_t, 32> in(halves);
  F32 result;
  for (size_t i = 0; i < 16; i += 8) {
    _mm256_storeu_ps(result.v + i, _mm256_cvtph_ps(LoadAll<__m128i>(in.v + i)));
  }
  return result;
}
inline __m256i cvtps_ph(F32 a) {
  Lanes<uint16_t, 32> result;
  for (size_t i = 0; i < 16; i += 8) {
    const __m128i bits =
        _mm256_cvtps_ph(_mm256_loadu_ps(a.v + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    std::memcpy(result.v + i, &bits, sizeof(bits));
  }
  return result.as<__m256i>();
}
inline __m512 cvtepi32_ps(I32 a) {
  return Each<float>([&](size_t i) { return static_cast<float>(a.v[i]); });
}
inline __m256 cvtepi64_ps(I64 a) {
  Lanes<float, 32> result;
  for (size_t i = 0; i < 8; ++i) result.v[i] = static_cast<float>(a.v[i]);
  return result.as<__m256>();
}
inline __m512 castps256_ps512(__m256 low) {
  F32 result;
  std::memcpy(result.v, &low, sizeof(low));
  return result;
}
inline __m512 insertf32x8(F32 a, __m256 half, int at) {
  std::memcpy(a.v + 8 * at, &half, sizeof(half));
  return a;
}
inline __m512 min_ps(F32 a, F32 b) {
  return Each<float>([&](size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline __m512 max_ps(F32 a, F32 b) {
  return Each<float>([&](size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline __mmask16 unordered_mask(F32 a, F32 b) {
  return EachBit<__mmask16>(16, [&](size_t i) { return std::isnan(a.v[i]) || std::isnan(b.v[i]); });
}

// ---- Integers ---------------------------------------------------------------------------------

inline __m512i max_epi32(I32 a, I32 b) {
  return Each<int32_t>([&](size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline __m512i mullo_epi32(U32 a, U32 b) {
  return Each<uint32_t>([&](size_t i) { return a.v[i] * b.v[i]; });
}
inline __m512i mul_epi32(I64 a, I64 b) {  // of the lower halves
  return Each<int64_t>([&](size_t i) {
    return int64_t{static_cast<int32_t>(a.v[i])} * static_cast<int32_t>(b.v[i]);
  });
}
inline __m512i shift_left(U32 a, unsigned bits) {
  return Each<uint32_t>([&](size_t i) { return bits < 32 ? a.v[i] << bits : 0; });
}
inline __m512i sll_epi32(U32 a, __m128i bits) {
  return shift_left(a, static_cast<unsigned>(_mm_cvtsi128_si32(bits)));
}
inline __m512i srli_epi32(U32 a, unsigned bits) {
  return Each<uint32_t>([&](size_t i) { return a.v[i] >> bits; });
}
inline __m512i srai_epi32(I32 a, unsigned bits) {
  return Each<int32_t>([&](size_t i) { return a.v[i] >> bits; });
}
template <class F>
__mmask16 CompareMask(I32 a, I32 b, F f) {
  return EachBit<__mmask16>(16, [&](size_t i) { return f(a.v[i], b.v[i]); });
}
inline int reduce_max_epi32(I32 a) {
  int32_t most = a.v[0];
  for (const int32_t value : a.v) most = value > most ? value : most;
  return most;
}
inline int reduce_add_epi32(U32 a) {
  uint32_t sum = 0;
  for (const uint32_t value : a.v) sum += value;
  return static_cast<int>(sum);
}
inline __m512i cvtepi32_epi64(__m256i narrow) {
  const Lanes<int32_t, 32> in(narrow);
  return Each<int64_t>([&](size_t i) { return int64_t{in.v[i]}; });
}
inline __m512i cvtepu16_epi32(__m256i narrow) {
  const Lanes<uint16_t, 32> in(narrow);
  return Each<int32_t>([&](size_t i) { return int32_t{in.v[i]}; });
}
inline __m256i cvtepi32_epi16(I32 a) {
  Lanes<uint16_t, 32> result;
  for (size_t i = 0; i < 16; ++i) result.v[i] = static_cast<uint16_t>(a.v[i]);
  return result.as<__m256i>();
}
inline Lanes<uint8_t, 16> LowBytes(I32 a) {
  Lanes<uint8_t, 16> result;
  for (size_t i = 0; i < 16; ++i) result.v[i] = static_cast<uint8_t>(a.v[i]);
  return result;
}
inline __m128i cvtepi32_epi8(I32 a) { return LowBytes(a).as<__m128i>(); }
template <class T, class R>
R Choose(R otherwise, unsigned mask, R chosen) {
  const Lanes<T> no(otherwise), yes(chosen);
  return Each<T>([&](size_t i) { return Has(mask, i) ? yes.v[i] : no.v[i]; });
}
inline __m512i dpbusd_epi32(U32 sums, __m512i a, __m512i b) {
  const Lanes<uint8_t> x(a);
  const Lanes<int8_t> w(b);
  for (size_t i = 0; i < 64; ++i) sums.v[i / 4] += static_cast<uint32_t>(x.v[i] * w.v[i]);
  return sums;
}

inline __m256i dpbusd_256(__m256i sums, __m256i a, __m256i b) {
  Lanes<uint32_t, 32> result(sums);
  const Lanes<uint8_t, 32> x(a);
  const Lanes<int8_t, 32> w(b);
  for (size_t i = 0; i < 32; ++i) result.v[i / 4] += static_cast<uint32_t>(x.v[i] * w.v[i]);
  return result.as<__m256i>();
}

// ---- Tiles ------------------------------------------------------------------------------------

struct Tile {
  size_t rows = 0, row_bytes = 0;  // 0: not configured
  uint8_t bytes[16][64] = {};
};
inline thread_local Tile tiles[8];

inline Tile& TileAt(int t) {
  if (tiles[t].rows == 0) Fault("invalid opcode: the tile is not configured");
  return tiles[t];
}
inline void tile_release() {
  for (Tile& tile : tiles) tile = {};
}
inline void tile_loadconfig(const void* from) {
  const auto* config = static_cast<const uint8_t*>(from);
  if (config[0] != 1 || config[1] != 0) Fault("general protection: palette or start row");
  for (int i = 2; i < 16; ++i) {
    if (config[i] != 0) Fault("general protection: reserved bytes");
  }
  for (size_t t = 0; t < 16; ++t) {
    uint16_t row_bytes;
    std::memcpy(&row_bytes, config + 16 + 2 * t, sizeof(row_bytes));
    const uint8_t rows = config[48 + t];
    if ((rows == 0) != (row_bytes == 0) || rows > 16 || row_bytes > 64)
      Fault("general protection: size of a tile");
    if (t < 8) tiles[t] = {rows, row_bytes, {}};
  }
}
// TileConfig has the sizes of 8 tiles; the processor ignores the others where the palette has none,
// if they are 0.
inline void tile_zero(int t) { std::memset(TileAt(t).bytes, 0, sizeof(Tile::bytes)); }
inline void tile_loadd(int t, const void* from, size_t stride) {
  Tile& tile = TileAt(t);
  for (size_t r = 0; r < tile.rows; ++r)
    std::memcpy(tile.bytes[r], static_cast<const char*>(from) + r * stride, tile.row_bytes);
}
inline void tile_stored(int t, void* to, size_t stride) {
  const Tile& tile = TileAt(t);
  for (size_t r = 0; r < tile.rows; ++r)
    std::memcpy(static_cast<char*>(to) + r * stride, tile.bytes[r], tile.row_bytes);
}
template <class X>
void TileDot(int sums, int x, int w) {
  Tile &c = TileAt(sums), &a = TileAt(x), &b = TileAt(w);
  if (sums == x || sums == w || x == w) Fault("invalid opcode: a tile twice");
  if (c.rows != a.rows || c.row_bytes != b.row_bytes || a.row_bytes / 4 != b.rows)
    Fault("invalid opcode: sizes of tiles");
  for (size_t m = 0; m < c.rows; ++m) {
    for (size_t n = 0; n < c.row_bytes / 4; ++n) {
      uint32_t sum;
      std::memcpy(&sum, c.bytes[m] + 4 * n, sizeof(sum));
      for (size_t k = 0; k < a.row_bytes; ++k) {
        sum += static_cast<uint32_t>(static_cast<X>(a.bytes[m][k]) *
                                     static_cast<int8_t>(b.bytes[k / 4][4 * n + k % 4]));
      }
      std::memcpy(c.bytes[m] + 4 * n, &sum, sizeof(sum));
    }
  }
}

}  // namespace octavo::emulated

#undef _mm512_cvtps_ph
#undef _mm512_roundscale_ps
#undef _mm512_cmp_ps_mask
#undef _mm512_insertf32x8
#undef _tile_dpbssd
#undef _tile_dpbusd
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero

#define OCTAVO_EMULATED ::octavo::emulated::
#define _mm512_add_epi32(a, b) ((__m512i)((__v16su)(a) + (__v16su)(b)))
#define _mm512_add_epi64(a, b) ((__m512i)((__v8du)(a) + (__v8du)(b)))
#define _mm512_add_ps(a, b) ((__m512)((__v16sf)(a) + (__v16sf)(b)))
#define _mm512_and_si512(a, b) ((__m512i)((__v8du)(a) & (__v8du)(b)))
#define _mm512_castps256_ps512 OCTAVO_EMULATED castps256_ps512
#define _mm512_castps_si512(a) ((__m512i)(a))
#define _mm512_castsi512_ps(a) ((__m512)(a))
#define _mm512_cmp_ps_mask(a, b, how) OCTAVO_EMULATED unordered_mask(a, b)
#define _mm512_cmpge_epi32_mask(a, b) \
  OCTAVO_EMULATED CompareMask(a, b, [](int32_t l, int32_t r) { return l >= r; })
#define _mm512_cmple_epi32_mask(a, b) \
  OCTAVO_EMULATED CompareMask(a, b, [](int32_t l, int32_t r) { return l <= r; })
#define _mm512_test_epi32_mask(a, b) \
  OCTAVO_EMULATED CompareMask(a, b, [](int32_t l, int32_t r) { return (l & r) != 0; })
#define _mm512_cvtepi32_epi16 OCTAVO_EMULATED cvtepi32_epi16
#define _mm512_cvtepi32_epi64 OCTAVO_EMULATED cvtepi32_epi64
#define _mm512_cvtepi32_epi8 OCTAVO_EMULATED cvtepi32_epi8
#define _mm512_cvtepi32_ps OCTAVO_EMULATED cvtepi32_ps
#define _mm512_cvtepi64_ps OCTAVO_EMULATED cvtepi64_ps
#define _mm512_cvtepu16_epi32 OCTAVO_EMULATED cvtepu16_epi32
#define _mm512_cvtph_ps OCTAVO_EMULATED cvtph_ps
#define _mm512_cvtps_epi32 OCTAVO_EMULATED cvtps_epi32
#define _mm512_cvtps_ph(a, how) OCTAVO_EMULATED cvtps_ph(a)
#define _mm512_cvtss_f32(a) ((a)[0])
#define _mm512_dpbusd_epi32 OCTAVO_EMULATED dpbusd_epi32
#define _mm512_fmadd_ps OCTAVO_EMULATED fmadd_ps
#define _mm512_insertf32x8 OCTAVO_EMULATED insertf32x8
#define _mm512_load_ps(p) (OCTAVO_EMULATED CheckAligned(p), OCTAVO_EMULATED LoadAll<__m512>(p))
#define _mm512_load_si512(p) (OCTAVO_EMULATED CheckAligned(p), OCTAVO_EMULATED LoadAll<__m512i>(p))
#define _mm512_loadu_si512(p) OCTAVO_EMULATED LoadAll<__m512i>(p)
#define _mm512_mask_add_epi32(src, mask, a, b) \
  OCTAVO_EMULATED Choose<int32_t, __m512i>(src, mask, _mm512_add_epi32(a, b))
#define _mm512_mask_cvtepi32_storeu_epi8(p, mask, a) \
  OCTAVO_EMULATED StoreLanes(p, mask, OCTAVO_EMULATED LowBytes(a))
#define _mm512_mask_mov_epi32(src, mask, a) OCTAVO_EMULATED Choose<int32_t, __m512i>(src, mask, a)
#define _mm512_mask_storeu_ps(p, mask, a) \
  OCTAVO_EMULATED StoreLanes(p, mask, OCTAVO_EMULATED F32(a))
#define _mm512_maskz_loadu_epi32 OCTAVO_EMULATED maskz_loadu_epi32
#define _mm512_maskz_loadu_ps OCTAVO_EMULATED maskz_loadu_ps
#define _mm512_maskz_mov_epi32(mask, a) \
  OCTAVO_EMULATED Choose<int32_t, __m512i>(_mm512_setzero_si512(), mask, a)
#define _mm512_maskz_mov_ps(mask, a) \
  OCTAVO_EMULATED Choose<float, __m512>(_mm512_setzero_ps(), mask, a)
#define _mm512_max_epi32 OCTAVO_EMULATED max_epi32
#define _mm512_max_ps OCTAVO_EMULATED max_ps
#define _mm512_min_ps OCTAVO_EMULATED min_ps
#define _mm512_mul_epi32 OCTAVO_EMULATED mul_epi32
#define _mm512_mul_ps(a, b) ((__m512)((__v16sf)(a) * (__v16sf)(b)))
#define _mm512_mullo_epi32 OCTAVO_EMULATED mullo_epi32
#define _mm512_or_si512(a, b) ((__m512i)((__v8du)(a) | (__v8du)(b)))
#define _mm512_reduce_add_epi32 OCTAVO_EMULATED reduce_add_epi32
#define _mm512_reduce_max_epi32 OCTAVO_EMULATED reduce_max_epi32
#define _mm512_roundscale_ps(a, how) OCTAVO_EMULATED roundscale_ps(a)
#define _mm512_set1_epi32 OCTAVO_EMULATED set1_epi32
#define _mm512_set1_epi64 OCTAVO_EMULATED set1_epi64
#define _mm512_set1_epi8 OCTAVO_EMULATED set1_epi8
#define _mm512_set1_ps OCTAVO_EMULATED set1_ps
#define _mm512_setzero_ps() (__m512{})
#define _mm512_setzero_si512() (__m512i{})
#define _mm512_sll_epi32 OCTAVO_EMULATED sll_epi32
#define _mm512_slli_epi32 OCTAVO_EMULATED shift_left
#define _mm512_srai_epi32 OCTAVO_EMULATED srai_epi32
#define _mm512_srli_epi32 OCTAVO_EMULATED srli_epi32
#define _mm512_store_ps(p, a) \
  (OCTAVO_EMULATED CheckAligned(p), OCTAVO_EMULATED StoreLanes(p, 0xffff, OCTAVO_EMULATED F32(a)))
#define _mm512_store_si512(p, a) \
  (OCTAVO_EMULATED CheckAligned(p), OCTAVO_EMULATED StoreLanes(p, 0xffff, OCTAVO_EMULATED I32(a)))
#define _mm512_storeu_si512(p, a) OCTAVO_EMULATED StoreLanes(p, 0xffff, OCTAVO_EMULATED I32(a))
#define _mm512_sub_epi32(a, b) ((__m512i)((__v16su)(a) - (__v16su)(b)))
#define _mm512_sub_epi64(a, b) ((__m512i)((__v8du)(a) - (__v8du)(b)))
#define _mm512_xor_si512(a, b) ((__m512i)((__v8du)(a) ^ (__v8du)(b)))
#define _mm256_dpbusd_avx_epi32 OCTAVO_EMULATED dpbusd_256
#define _mm256_mask_storeu_epi16(p, mask, a) \
  OCTAVO_EMULATED StoreLanes(p, mask, OCTAVO_EMULATED Lanes<uint16_t, 32>(a))
#define _mm256_maskz_loadu_epi16 OCTAVO_EMULATED maskz_loadu_epi16_256
#define _mm256_maskz_loadu_epi32 OCTAVO_EMULATED maskz_loadu_epi32_256
#define _tile_dpbssd OCTAVO_EMULATED TileDot<int8_t>
#define _tile_dpbusd OCTAVO_EMULATED TileDot<uint8_t>
#define _tile_loadconfig OCTAVO_EMULATED tile_loadconfig
#define _tile_loadd OCTAVO_EMULATED tile_loadd
#define _tile_release OCTAVO_EMULATED tile_release
#define _tile_stored OCTAVO_EMULATED tile_stored
#define _tile_zero OCTAVO_EMULATED tile_zero
