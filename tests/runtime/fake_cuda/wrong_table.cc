// A library with octavo_cuda_table that must not be used: of an older version, or without a table.
#include "octavo/cuda_kernels.h"

[[gnu::visibility("default")]] const octavo::kernels::CudaTable* octavo_cuda_table() {
#ifdef OCTAVO_TABLE_OF_VERSION
  // An older table was shorter: nothing behind the version may be read.
  static const int32_t version = OCTAVO_TABLE_OF_VERSION;
  return reinterpret_cast<const octavo::kernels::CudaTable*>(&version);
#else
  return nullptr;
#endif
}
