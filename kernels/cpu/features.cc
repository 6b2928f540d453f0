#include "kernels/cpu/features.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace octavo::kernels {
namespace {

#if defined(__x86_64__)
struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers Cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool Bit(uint32_t value, int bit) { return ((value >> bit) & 1u) != 0; }

// XCR0: the register states that the operating system saves. Requires: CPUID says OSXSAVE.
uint64_t SavedStates() {
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Tiles take 8 KiB of every context, so Linux gives them to processes that ask. It refuses where a
// thread's alternate signal stack is too small for them.
bool AskForTiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

CpuSupport Support(bool cpu, bool system) {
  return !cpu ? CpuSupport::kAbsent : system ? CpuSupport::kUsable : CpuSupport::kWithheld;
}

CpuFeatures Detect() {
  const Registers leaf1 = Cpuid(1, 0), leaf7 = Cpuid(7, 0);
  const Registers leaf7_1 = leaf7.eax >= 1 ? Cpuid(7, 1) : Registers{};
  const bool avx2 = Bit(leaf7.ebx, 5) && Bit(leaf1.ecx, 12) && Bit(leaf1.ecx, 29);
  const bool avxvnni = avx2 && Bit(leaf7_1.eax, 4);
  const bool avx512vnni = avx2 && Bit(leaf7.ebx, 16) && Bit(leaf7.ebx, 17) && Bit(leaf7.ebx, 30) &&
                          Bit(leaf7.ebx, 31) && Bit(leaf7.ecx, 11);
  const bool amx = avx512vnni && Bit(leaf7.edx, 24) && Bit(leaf7.edx, 25);

  const uint64_t saved = Bit(leaf1.ecx, 27) ? SavedStates() : 0;  // OSXSAVE
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000 | kZmm;
  const bool ymm = (saved & kYmm) == kYmm, zmm = (saved & kZmm) == kZmm;
  const bool tiles = (saved & kTiles) == kTiles;
  return {Support(avx2, ymm), Support(avxvnni, ymm), Support(avx512vnni, zmm),
          Support(amx, amx && tiles && AskForTiles())};
}
#else
CpuFeatures Detect() { return {}; }
#endif

}  // namespace

const CpuFeatures& DetectedCpuFeatures() {
  static const CpuFeatures features = Detect();
  return features;
}

}  // namespace octavo::kernels
