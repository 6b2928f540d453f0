// In a build without sm_90a. DeviceTraits say so, and no plan comes here.
#include "kernels/cuda/error.h"
#include "kernels/cuda/products.h"

namespace octavo::cuda {

CudaStatus LaunchProductWgmma(const ProductOperands&, const WgmmaTile&, void*) {
  return Fail(CudaStatus::kUnsupported, "this build has no code for sm_90a");
}

}  // namespace octavo::cuda
