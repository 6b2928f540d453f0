// What the processor calls itself.
#pragma once

#include <string>

namespace octavo::tools {

std::string CpuModel();  // "AMD EPYC 7763"; "unknown" where the system does not say

}  // namespace octavo::tools
