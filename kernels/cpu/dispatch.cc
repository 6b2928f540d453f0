// Which tables there are, which of them this machine can run, and which one is taken.
#include <array>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu/features.h"
#include "kernels/cpu/tables.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

std::string WithSupport(const char* instructions, CpuSupport support) {
  constexpr const char* kSaid[] = {
      ", which this CPU lacks",
      ", which this CPU has, but the operating system does not let this process use them",
      ", which this CPU has"};
  return instructions + std::string(kSaid[static_cast<size_t>(support)]);
}

[[maybe_unused]] CpuKernelsInfo Absent(const char* name, const char* instructions,
                                       CpuSupport support) {
  return {nullptr, name, false,
          "not compiled into this build (uses " + WithSupport(instructions, support) + ")"};
}

[[maybe_unused]] CpuKernelsInfo Compiled(const CpuKernels& kernels, const char* instructions,
                                         CpuSupport support) {
  return {&kernels, kernels.name, support == CpuSupport::kUsable,
          "uses " + WithSupport(instructions, support)};
}

CpuKernelsInfo Amx(const CpuFeatures& cpu) {
#if defined(OCTAVO_HAVE_AMX)
  return Compiled(kAmxKernels, "AMX-INT8 and AVX-512 VNNI", cpu.amx_int8);
#else
  return Absent("amx", "AMX-INT8 and AVX-512 VNNI", cpu.amx_int8);
#endif
}

CpuKernelsInfo Avx512Vnni(const CpuFeatures& cpu) {
#if defined(OCTAVO_HAVE_AVX512VNNI)
  return Compiled(kAvx512VnniKernels, "AVX-512 VNNI", cpu.avx512vnni);
#else
  return Absent("avx512vnni", "AVX-512 VNNI", cpu.avx512vnni);
#endif
}

CpuKernelsInfo AvxVnni(const CpuFeatures& cpu) {
#if defined(OCTAVO_HAVE_AVXVNNI)
  return Compiled(kAvxVnniKernels, "AVX-VNNI", cpu.avxvnni);
#else
  return Absent("avxvnni", "AVX-VNNI", cpu.avxvnni);
#endif
}

CpuKernelsInfo Avx2(const CpuFeatures& cpu) {
#if defined(OCTAVO_HAVE_AVX2)
  return Compiled(kAvx2Kernels, "AVX2, FMA and F16C", cpu.avx2);
#else
  return Absent("avx2", "AVX2, FMA and F16C", cpu.avx2);
#endif
}

std::array<CpuKernelsInfo, 5> MakeList() {
  const CpuFeatures& cpu = DetectedCpuFeatures();
  return {
      Amx(cpu),
      Avx512Vnni(cpu),
      AvxVnni(cpu),
      Avx2(cpu),
      CpuKernelsInfo{&kPortableKernels, kPortableKernels.name, true,
                     "needs nothing beyond the baseline of the build"},
  };
}

bool IsAuto(const char* name) {
  return name == nullptr || *name == '\0' || std::strcmp(name, "auto") == 0;
}

std::string KnownNames() {
  std::string names = "auto";
  for (const CpuKernelsInfo& info : ListCpuKernels()) names += std::string(", ") + info.name;
  return names;
}

void Explain(std::string* why, std::string text) {
  if (why != nullptr) *why = std::move(text);
}

}  // namespace

std::span<const CpuKernelsInfo> ListCpuKernels() {
  static const std::array<CpuKernelsInfo, 5> list = MakeList();
  return list;
}

const CpuKernels* FindCpuKernels(const char* name, std::string* why) {
  for (const CpuKernelsInfo& info : ListCpuKernels()) {
    if (IsAuto(name)) {
      if (info.supported) return info.kernels;
    } else if (std::strcmp(name, info.name) == 0) {
      if (info.supported) return info.kernels;
      Explain(why, std::string("CPU kernels \"") + name + "\": " + info.reason);
      return nullptr;
    }
  }
  Explain(why, std::string("unknown CPU kernels \"") + name + "\" (known: " + KnownNames() + ")");
  return nullptr;
}

const CpuKernels* SelectCpuKernels(std::string* why) {
  const CpuKernels* kernels = FindCpuKernels(std::getenv("OCTAVO_CPU"), why);
  if (kernels == nullptr && why != nullptr) *why = "OCTAVO_CPU: " + *why;
  return kernels;
}

}  // namespace octavo::kernels
