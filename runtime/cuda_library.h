// Finding and opening liboctavo_cuda.so.
#pragma once

#include <string>

#include "octavo/cuda_kernels.h"

namespace octavo {

struct OpenedCudaLibrary {
  const kernels::CudaTable* table = nullptr;
  std::string why_not;  // where table is null: one sentence
};

// `named`: a path, "off", or null or "" for the usual places: the folder of the program or library
// that contains this code, the installation's library folder seen from there, and the loader's own
// path. Opens anew on every call; octavo::CudaLibrary() does it once, with OCTAVO_CUDA_LIBRARY.
OpenedCudaLibrary OpenCudaLibrary(const char* named);

}  // namespace octavo
