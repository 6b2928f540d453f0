// The pass ahead of the conversion: ranges over whole matrices, and weights that are not finite.
#include <algorithm>

#include "libquant/ordered_run.h"
#include "libquant/pipeline.h"
#include "libquant/work_items.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;

class Prescan : public ItemStages {
 public:
  Prescan(const Checkpoint& source, const PipelineOptions& options, std::vector<ModuleJob>* jobs,
          std::vector<uint32_t>* bad, ProgressMeter* progress)
      : source_(source),
        options_(options),
        jobs_(*jobs),
        items_(CutWeightItems(*jobs)),
        bad_(bad),
        progress_(progress),
        workers_(static_cast<size_t>(std::max(options.num_threads, 1))) {
    for (ModuleJob& job : jobs_)
      job.ranges.assign(job.is_quantized() ? job.weight.experts : 0, MatrixRange());
  }

  size_t num_items() const { return items_.size(); }

  Status Compute(size_t item_idx, size_t worker_idx) override {
    const WorkItem& item = items_[item_idx];
    const WeightInfo& weight = jobs_[item.job].weight;
    Worker& worker = workers_[worker_idx];
    OCTAVO_ASSIGN_OR_RETURN(const WeightRows rows, ReadWeightRows(source_, weight, item.first_row,
                                                                  item.num_rows, &worker.buffers));
    const std::byte* data = rows.data;
    kernels::ElementType type = weight.type;
    worker.is_good = true;
    if (options_.via_fp16 && type != kernels::ElementType::kFloat16) {
      worker.is_good = RoundToHalf(data, type, item.num_rows * weight.in_features, &worker.buffers);
      data = reinterpret_cast<const std::byte*>(worker.buffers.half.data());
      type = kernels::ElementType::kFloat16;
    }
    worker.range = {};
    for (uint64_t row = 0; row < item.num_rows && worker.is_good; ++row) {
      const kernels::WeightRange range = options_.kernels->weight_range(
          data + row * weight.in_features * ElementBytes(type), type, weight.in_features);
      worker.is_good = range.first_non_finite == SIZE_MAX;
      Widen(&worker.range, {range.lo, range.hi});
    }
    return {};
  }

  Status Commit(size_t item_idx, size_t worker_idx) override {
    const WorkItem& item = items_[item_idx];
    ModuleJob& job = jobs_[item.job];
    const Worker& worker = workers_[worker_idx];
    if (!worker.is_good && (bad_->empty() || bad_->back() != item.job)) bad_->push_back(item.job);
    Widen(&job.ranges[item.first_row / job.weight.out_features], worker.range);
    return progress_->Add(worker.buffers.source.size(), job.weight.tensor->name);
  }

  Status Finish(size_t, size_t) override { return {}; }

 private:
  struct Worker {
    RowBuffers buffers;
    MatrixRange range;
    bool is_good = true;
  };

  static void Widen(MatrixRange* range, const MatrixRange& other) {
    range->lo = std::min(range->lo, other.lo);
    range->hi = std::max(range->hi, other.hi);
  }

  const Checkpoint& source_;
  const PipelineOptions& options_;
  std::vector<ModuleJob>& jobs_;
  const std::vector<WorkItem> items_;
  std::vector<uint32_t>* bad_;
  ProgressMeter* progress_;
  std::vector<Worker> workers_;
};

}  // namespace

Status RunPrescan(const Checkpoint& source, const PipelineOptions& options,
                  std::vector<ModuleJob>* jobs, std::vector<uint32_t>* bad,
                  ProgressMeter* progress) {
  Prescan prescan(source, options, jobs, bad, progress);
  return RunOrdered(prescan.num_items(), options.num_threads, &prescan);
}

}  // namespace octavo::quant
