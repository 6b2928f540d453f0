// Watches allocations of the program that links it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::testing {

uint64_t NumAllocations();  // since the program began
void ForgetRequests();
size_t LargestRequest();  // to operator new since ForgetRequests, in bytes

}  // namespace octavo::testing
