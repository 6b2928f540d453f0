// The CUDA backend as the rest of the runtime sees it: cuda_absent.cc in a build without it.
#pragma once

#include <string>

namespace octavo {

// Why this process cannot run linears on a CUDA device.
std::string CudaUnavailableReason();

}  // namespace octavo
