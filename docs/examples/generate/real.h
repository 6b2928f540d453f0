// The numbers between the linears.
#pragma once

namespace generate {

// float, or double where nothing outside the linears shall round: so the tests build it, to compare
// whole models with another program. The linears take and give float32 either way.
#ifdef GENERATE_DOUBLE
using Real = double;
#else
using Real = float;
#endif

}  // namespace generate
