#include "libquant/work_items.h"

#include <algorithm>

namespace octavo::quant {
namespace {

// Rows [0, num_rows) in runs of chunk_rows that do not cross multiples of matrix_rows.
void CutRows(uint32_t job, uint32_t tensor, uint64_t num_rows, uint64_t chunk_rows,
             uint64_t matrix_rows, std::vector<WorkItem>* items) {
  if (num_rows == 0) {
    items->push_back({job, tensor, 0, 0, true, true});
    return;
  }
  for (uint64_t row = 0; row < num_rows;) {
    const uint64_t matrix_end = (row / matrix_rows + 1) * matrix_rows;
    const uint64_t end = std::min({row + chunk_rows, matrix_end, num_rows});
    items->push_back({job, tensor, row, end - row, row == 0, end == num_rows});
    row = end;
  }
}

void CutWeight(const ModuleJob& job, uint32_t job_idx, uint32_t tensor_idx,
               std::vector<WorkItem>* items) {
  CutRows(job_idx, tensor_idx, job.weight.num_rows(), CodeChunkRows(job.module),
          job.weight.out_features, items);
}

void CutCopy(const ModuleJob& job, const format::SourceTensor& tensor, uint32_t job_idx,
             uint32_t tensor_idx, std::vector<WorkItem>* items) {
  const uint64_t num_rows = tensor.bytes == 0 ? 0 : *tensor.shape.NumRows();
  CutRows(job_idx, tensor_idx, num_rows, CopySpec(job, tensor).chunk_rows, num_rows + 1, items);
}

}  // namespace

std::vector<WorkItem> CutItems(const std::vector<ModuleJob>& jobs) {
  std::vector<WorkItem> items;
  for (uint32_t job_idx = 0; job_idx < jobs.size(); ++job_idx) {
    const ModuleJob& job = jobs[job_idx];
    for (uint32_t tensor_idx = 0; tensor_idx < job.tensors.size(); ++tensor_idx) {
      const format::SourceTensor* tensor = job.tensors[tensor_idx];
      if (tensor == job.weight.tensor) {
        CutWeight(job, job_idx, tensor_idx, &items);
      } else {
        CutCopy(job, *tensor, job_idx, tensor_idx, &items);
      }
    }
  }
  return items;
}

std::vector<WorkItem> CutWeightItems(const std::vector<ModuleJob>& jobs) {
  std::vector<WorkItem> items;
  for (uint32_t job_idx = 0; job_idx < jobs.size(); ++job_idx) {
    const ModuleJob& job = jobs[job_idx];
    for (uint32_t tensor_idx = 0; tensor_idx < job.tensors.size(); ++tensor_idx) {
      const bool is_weight = job.is_quantized() && job.tensors[tensor_idx] == job.weight.tensor;
      if (is_weight && job.weight.scales.form != WeightForm::kCodes) {
        CutWeight(job, job_idx, tensor_idx, &items);
      }
    }
  }
  return items;
}

}  // namespace octavo::quant
