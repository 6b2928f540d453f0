// The conversion cut into pieces, each the work of one chunk of the output.
#pragma once

#include <cstdint>
#include <vector>

#include "libquant/module_job.h"

namespace octavo::quant {

// Rows of one tensor of one job: output features of a quantized weight, rows of a copied tensor. A
// tensor without elements has one item of no rows.
struct WorkItem {
  uint32_t job = 0;
  uint32_t tensor = 0;  // in the job's tensors
  uint64_t first_row = 0;
  uint64_t num_rows = 0;
  bool begins_tensor = false;
  bool ends_tensor = false;
};

// In the order of the jobs, of their tensors, of the rows.
std::vector<WorkItem> CutItems(const std::vector<ModuleJob>& jobs);
// Those of weights that are quantized, not taken over, alone: what a pass ahead of the conversion
// looks at.
std::vector<WorkItem> CutWeightItems(const std::vector<ModuleJob>& jobs);

}  // namespace octavo::quant
