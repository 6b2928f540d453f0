// The bound of kernels/reference/bound.h, and what a test says when it is broken.
#pragma once

#include <sstream>
#include <string>

#include "kernels/reference/bound.h"

namespace octavo::testing {

using kernels::BackendArithmetic;
using reference::ErrorBound;
using reference::FloatFormat;
using reference::FormatOf;
using reference::IsWithinBound;
using reference::UlpAt;

inline std::string DescribeOutput(double y, const reference::ExactOutput& exact) {
  std::ostringstream text;
  text.precision(17);
  text << "y = " << y << ", y64 = " << exact.y << ", E = " << ErrorBound(exact) << ", entries of G "
       << exact.unquantized;
  return text.str();
}

}  // namespace octavo::testing
