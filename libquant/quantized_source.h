// Recognizes checkpoints whose weights are quantized already.
#pragma once

#include <span>

#include "octavo/policy.h"

namespace octavo::quant {

// Errors: kRefused, with what gave it away and what to do. Judged by config.json, dtypes and names
// alone.
Status RefuseQuantizedSource(std::span<const format::SourceTensor> tensors,
                             const ModelConfig& config);

}  // namespace octavo::quant
