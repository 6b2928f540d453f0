#include "runtime/cuda.h"

namespace octavo {

std::string CudaUnavailableReason() {
  return "this build of Octavo has no CUDA backend; linears run on the CPU (device cpu)";
}

}  // namespace octavo
