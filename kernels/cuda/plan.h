// Which kernel a product takes: a function of its sizes, of the kind of its codes and of the
// device.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/products.h"

namespace octavo::cuda {

enum class ProductKernel : int32_t { kFewTokens, kWgmma, kMma, kDeepRows };

struct ProductPlan {
  ProductKernel kernel = ProductKernel::kMma;
  WgmmaTile tile;  // kWgmma
};

ProductPlan PlanProduct(const DeviceTraits& device, const ProductOperands& o);

// "few_tokens", "wgmma_128x256_2x1", … The text lives as long as the process.
const char* ProductPlanName(const ProductPlan& plan);

}  // namespace octavo::cuda
