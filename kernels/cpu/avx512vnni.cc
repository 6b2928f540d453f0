// AVX-512 VNNI: F, BW, DQ, VL and VNNI.
//
// vpdpbusd multiplies unsigned by signed bytes, four products to an int32 lane: activations are the
// unsigned side (symmetric codes are shifted by 128, which the epilogue takes back with the sums of
// the weights' codes), sixteen output features stand side by side in a register. A tile is 6 rows
// by 64 output features: 24 accumulators, 4 weight registers, 1 broadcast, of 32.
#include "kernels/cpu/tables.h"
#include "kernels/cpu/zmm_product.h"

namespace octavo::kernels {
namespace {

struct Avx512Vnni {
  static size_t WaitingSums(size_t, size_t, size_t) { return 0; }
  static void Multiply(const Call& call, const Memory& memory) {
    MultiplyPiece(call, call.block, memory.scratch);
  }
};

}  // namespace

constinit const CpuKernels kAvx512VnniKernels = ZmmKernels<Avx512Vnni>("avx512vnni", nullptr);

}  // namespace octavo::kernels
