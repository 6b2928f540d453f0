#include "tests/kernels/emulated/tables.h"

namespace octavo::kernels {

#if defined(OCTAVO_EMULATE_CPUS)
extern constinit const CpuKernels kEmulatedAvxVnniKernels;
extern constinit const CpuKernels kEmulatedAvx512VnniKernels;
extern constinit const CpuKernels kEmulatedAmxKernels;

const CpuKernels* EmulatedCpuKernels(const std::string& name) {
  if (FindCpuKernels("avx2", nullptr) == nullptr) return nullptr;
  for (const CpuKernels* table :
       {&kEmulatedAvxVnniKernels, &kEmulatedAvx512VnniKernels, &kEmulatedAmxKernels}) {
    if (name == table->name) return table;
  }
  return nullptr;
}
#else
const CpuKernels* EmulatedCpuKernels(const std::string&) { return nullptr; }
#endif

}  // namespace octavo::kernels
