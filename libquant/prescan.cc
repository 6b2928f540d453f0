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
          std::vector<uint32_t>* bad, ProgressMeter* progress, SavePoints* saves)
      : source_(source),
        options_(options),
        jobs_(*jobs),
        items_(CutWeightItems(*jobs)),
        bad_(bad),
        progress_(progress),
        saves_(saves),
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
    const uint64_t bytes = worker.buffers.source.size();
    OCTAVO_RETURN_IF_ERROR(progress_->Add(bytes, job.weight.tensor->name));
    if (saves_ == nullptr) return {};
    const bool ends_pass = item_idx + 1 == items_.size();
    return saves_->Committed(item_idx, bytes, ends_pass,
                             [&](format::ByteWriter* out) { PutState(item, out); });
  }

  Status Finish(size_t item_idx, size_t) override {
    return SavePoints::Writing(saves_).Done(item_idx);
  }

  void PutState(const WorkItem& item, format::ByteWriter* out) {
    out->PutVector(*bad_);
    out->Put<uint64_t>(first_unsaved_job_);
    out->Put<uint64_t>(item.job + 1);
    for (size_t job = first_unsaved_job_; job <= item.job; ++job) out->PutVector(jobs_[job].ranges);
    first_unsaved_job_ = item.job;  // more of it may follow
  }
  void GetState(format::ByteReader* in) {
    *bad_ = in->GetVector<uint32_t>();
    const auto begin = in->Get<uint64_t>();
    const size_t end = std::min<uint64_t>(in->Get<uint64_t>(), jobs_.size());
    for (size_t job = begin; job < end; ++job) {
      const auto ranges = in->GetVector<MatrixRange>();
      if (ranges.size() == jobs_[job].ranges.size()) jobs_[job].ranges = ranges;
    }
    first_unsaved_job_ = end == 0 ? 0 : end - 1;
  }

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
  SavePoints* saves_;
  size_t first_unsaved_job_ = 0;
  std::vector<Worker> workers_;
};

}  // namespace

Status RunPrescan(const Checkpoint& source, const PipelineOptions& options,
                  std::vector<ModuleJob>* jobs, std::vector<uint32_t>* bad, ProgressMeter* progress,
                  SavePoints* saves) {
  Prescan prescan(source, options, jobs, bad, progress, saves);
  size_t first_item = 0;
  if (saves != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(first_item, saves->Begin(Pass::kPrescan, [&](format::ByteReader* in) {
      prescan.GetState(in);
    }));
  }
  return RunOrdered(prescan.num_items(), options.num_threads, &prescan, first_item);
}

}  // namespace octavo::quant
