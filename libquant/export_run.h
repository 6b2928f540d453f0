// Streams the tensors of an export from the .8vo file into the folder's safetensors files.
#pragma once

#include <vector>

#include "libquant/export_plan.h"
#include "libquant/progress_meter.h"
#include "octavo/reader.h"
#include "octavo/safetensors.h"

namespace octavo::quant {

// `writers`: one for each shard. Errors: kNotIntact, kRefused (a weight that overflows in 16 bit),
// kIo, kCancelled.
Status RunExport(const format::Reader& reader, const ExportPlan& plan,
                 const std::vector<format::SafetensorsWriter>& writers, int32_t num_threads,
                 ProgressMeter* progress);

}  // namespace octavo::quant
