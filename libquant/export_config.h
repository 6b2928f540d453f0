// config.json for an exported folder.
#pragma once

#include <string>
#include <string_view>

#include "libquant/export_plan.h"
#include "octavo/dtype.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::quant {

// The floating type that config.json names ("dtype", formerly "torch_dtype"); BF16 where it names
// none of 16 or 32 bit.
DType WeightsDType(std::string_view config_json);

// config.json with the quantization_config of the format, or without one for safetensors. What a
// config already says in the same format is kept. Errors: kInvalidFile.
Result<std::string> AdaptConfig(std::string_view config_json, ExportFormat format,
                                const format::Manifest& manifest, const ExportPlan& plan);

}  // namespace octavo::quant
