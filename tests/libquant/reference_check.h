// A converted file against the definition of LLM.int8() and a plain computation of its metrics.
#pragma once

#include <string>

#include "octavo/checkpoint.h"
#include "tests/libquant/model_folder.h"

namespace octavo::quant::testing {

// Every module of the file: codes, scales, sums and zero points as kernels/reference computes them
// from the source, kept columns as the source has them, everything else byte for byte. The number
// of quantized modules.
size_t CheckAgainstReference(const Output& output, const format::Checkpoint& source);

}  // namespace octavo::quant::testing
