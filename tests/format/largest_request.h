// Watches allocations: how large the largest request to operator new was.
#pragma once

#include <cstddef>

namespace octavo::testing {

void ForgetRequests();
size_t LargestRequest();  // since ForgetRequests, in bytes

}  // namespace octavo::testing
