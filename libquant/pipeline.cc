#include "libquant/pipeline.h"

#include <algorithm>
#include <string>

#include "libquant/module_results.h"
#include "libquant/ordered_run.h"
#include "libquant/work_items.h"
#include "octavo/thread_pool.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;
using format::SourceTensor;

// One thread's memory, reused from item to item.
struct Worker {
  RowBuffers buffers;
  RowResults rows;
  std::vector<int8_t> packed;
  OutputChunk chunk;
  WeightRows read;            // of the current item
  uint64_t hashed_bytes = 0;  // of its file, as of its commit
};

class Pipeline : public ItemStages {
 public:
  Pipeline(const Checkpoint& source, const PipelineOptions& options, std::vector<ModuleJob>* jobs,
           OutputSink* sink, SourceDigest* digest, ProgressMeter* progress, SavePoints* saves)
      : source_(source),
        options_(options),
        jobs_(*jobs),
        items_(CutItems(*jobs)),
        sink_(sink),
        digest_(digest),
        progress_(progress),
        saves_(saves),
        workers_(static_cast<size_t>(std::max(options.num_threads, 1))) {}

  size_t num_items() const { return items_.size(); }

  Status Compute(size_t item_idx, size_t worker_idx) override {
    const WorkItem& item = items_[item_idx];
    Worker& worker = workers_[worker_idx];
    const ModuleJob& job = jobs_[item.job];
    if (item.num_rows == 0) return {};
    if (!IsWeight(item)) return ComputeCopy(item, &worker);
    OCTAVO_RETURN_IF_ERROR(ComputeCodes(job, item, &worker));
    return sink_->Prepare(CodesSpec(job.module), &worker.chunk);
  }

  Status Commit(size_t item_idx, size_t worker_idx) override {
    const WorkItem& item = items_[item_idx];
    Worker& worker = workers_[worker_idx];
    ModuleJob& job = jobs_[item.job];
    const SourceTensor& tensor = *job.tensors[item.tensor];
    if (item.num_rows > 0 && worker.read.is_source_order) {
      OCTAVO_RETURN_IF_ERROR(digest_->Add(tensor.file, worker.read.offset, worker.buffers.source));
    }
    worker.hashed_bytes = digest_->done(tensor.file);
    OCTAVO_RETURN_IF_ERROR(Begin(item, job, tensor));
    if (item.num_rows > 0) OCTAVO_RETURN_IF_ERROR(sink_->Place(&worker.chunk));
    if (IsWeight(item)) results_.Add(job, worker.rows);
    if (item.ends_tensor) OCTAVO_RETURN_IF_ERROR(sink_->EndTensor());
    if (item.ends_tensor && item.tensor + 1 == job.tensors.size() && job.is_quantized()) {
      OCTAVO_RETURN_IF_ERROR(results_.Store(&job, sink_));
    }
    const uint64_t bytes = item.num_rows > 0 ? worker.buffers.source.size() : 0;
    OCTAVO_RETURN_IF_ERROR(progress_->Add(bytes, tensor.name));
    if (saves_ == nullptr) return {};
    return saves_->Committed(item_idx, bytes, /*ends_pass=*/false,
                             [&](format::ByteWriter* out) { PutState(item, out); });
  }

  Status Finish(size_t item_idx, size_t worker_idx) override {
    SavePoints::Writing writing(saves_);
    const WorkItem& item = items_[item_idx];
    if (item.num_rows > 0) {
      source_.Release(jobs_[item.job].tensors[item.tensor]->file,
                      workers_[worker_idx].hashed_bytes);
      OCTAVO_RETURN_IF_ERROR(sink_->Store(workers_[worker_idx].chunk));
    }
    return writing.Done(item_idx);
  }

  // What the commits up to an item left for those that follow.
  void PutState(const WorkItem& item, format::ByteWriter* out) {
    out->Put<uint64_t>(first_unsaved_job_);
    out->Put<uint64_t>(item.job + 1);
    for (; first_unsaved_job_ <= item.job; ++first_unsaved_job_) {
      const format::Module& module = jobs_[first_unsaved_job_].module;
      out->Put(module.error);
      out->Put(module.scheme && module.scheme->full_range);
    }
    first_unsaved_job_ = item.job;  // more of it may follow
    results_.Put(out);
    digest_->Put(out);
  }
  void GetState(format::ByteReader* in) {
    const auto begin = in->Get<uint64_t>();
    first_unsaved_job_ = std::min<uint64_t>(in->Get<uint64_t>(), jobs_.size());
    for (size_t job = begin; job < first_unsaved_job_; ++job) {
      format::Module& module = jobs_[job].module;
      module.error = in->Get<std::optional<format::ModuleError>>();
      const bool full_range = in->Get<bool>();
      if (module.scheme) module.scheme->full_range = full_range;
    }
    if (first_unsaved_job_ > 0) --first_unsaved_job_;
    results_.Get(in);
    digest_->Get(in);
  }

 private:
  bool IsWeight(const WorkItem& item) const {
    const ModuleJob& job = jobs_[item.job];
    return job.is_quantized() && job.tensors[item.tensor] == job.weight.tensor;
  }

  Status ComputeCopy(const WorkItem& item, Worker* worker) {
    const SourceTensor& tensor = *jobs_[item.job].tensors[item.tensor];
    if (&tensor == jobs_[item.job].widened.tensor) return ComputeWidened(item, worker);
    const uint64_t row_bytes = tensor.shape.row_elements() * DTypeBytes(tensor.dtype);
    worker->read = {nullptr, true, tensor.offset + item.first_row * row_bytes};
    worker->buffers.source.resize(item.num_rows * row_bytes);
    OCTAVO_RETURN_IF_ERROR(
        source_.ReadAt(tensor.file, worker->read.offset, worker->buffers.source));
    worker->chunk.raw = worker->buffers.source;
    worker->chunk.first_row = item.first_row;
    worker->chunk.num_rows = item.num_rows;
    return sink_->Prepare(CopySpec(jobs_[item.job], tensor), &worker->chunk);
  }

  // fp8 that is not quantized.
  Status ComputeWidened(const WorkItem& item, Worker* worker) {
    const WeightInfo& weight = jobs_[item.job].widened;
    OCTAVO_ASSIGN_OR_RETURN(worker->read, ReadWeightRows(source_, weight, item.first_row,
                                                         item.num_rows, &worker->buffers));
    if (!RoundToBFloat16(worker->read.data, item.num_rows * weight.in_features, &worker->buffers)) {
      return RefuseWeight(source_, *weight.tensor, options_.via_fp16);
    }
    worker->chunk.raw = std::as_bytes(std::span(worker->buffers.half));
    worker->chunk.first_row = item.first_row;
    worker->chunk.num_rows = item.num_rows;
    return sink_->Prepare(CopySpec(jobs_[item.job], *weight.tensor), &worker->chunk);
  }

  // int8 rows as they are, with their scales.
  Status TakeCodes(const ModuleJob& job, const WorkItem& item, Worker* worker) {
    OCTAVO_ASSIGN_OR_RETURN(worker->rows.scale, ReadRowScales(source_, job.weight, item.first_row,
                                                              item.num_rows, &worker->buffers));
    const std::optional<uint64_t> bad = MeasureCodes(worker->read.data, job.weight.in_features,
                                                     job.module.scheme->convention, &worker->rows);
    if (bad) {
      return Status(ErrorCode::kRefused, source_.files()[job.weight.tensor->file].path +
                                             ": tensor \"" + job.weight.tensor->name + "\": row " +
                                             std::to_string(item.first_row + *bad) +
                                             " has codes, but its scale is 0");
    }
    LayOut(job, item, worker);
    return {};
  }

  Status ComputeCodes(const ModuleJob& job, const WorkItem& item, Worker* worker) {
    const WeightInfo& weight = job.weight;
    OCTAVO_ASSIGN_OR_RETURN(worker->read, ReadWeightRows(source_, weight, item.first_row,
                                                         item.num_rows, &worker->buffers));
    if (weight.scales.form == WeightForm::kCodes) return TakeCodes(job, item, worker);
    RowTask task{.source = worker->read.data,
                 .source_type = weight.type,
                 .weights = worker->read.data,
                 .type = weight.type,
                 .in_features = weight.in_features,
                 .num_rows = item.num_rows,
                 .method = options_.method,
                 .range = {},
                 .kept_index = job.kept_index};
    if (!job.ranges.empty()) task.range = job.ranges[item.first_row / weight.out_features];
    bool is_good = true;
    if (options_.via_fp16 && weight.type != kernels::ElementType::kFloat16) {
      is_good = RoundToHalf(worker->read.data, weight.type, item.num_rows * weight.in_features,
                            &worker->buffers);
      task.weights = worker->buffers.half.data();
      task.type = kernels::ElementType::kFloat16;
    }
    if (!is_good || !QuantizeRows(*options_.kernels, task, &worker->rows)) {
      return RefuseWeight(source_, *weight.tensor, options_.via_fp16);
    }
    LayOut(job, item, worker);
    return {};
  }

  // The codes in the layout of the file, and which of its rows they are.
  void LayOut(const ModuleJob& job, const WorkItem& item, Worker* worker) {
    const uint64_t in_features = job.weight.in_features;
    OutputChunk& chunk = worker->chunk;
    chunk.first_row = item.first_row;
    chunk.num_rows = item.num_rows;
    chunk.raw = std::as_bytes(std::span(worker->rows.codes));
    if (job.module.scheme->layout == format::CodeLayout::kPlain) return;
    constexpr auto kLayout = kernels::WeightLayout::kVnni16x4;
    worker->packed.resize(LayoutBytes(kLayout, item.num_rows, in_features));
    PackCodes(kLayout, worker->rows.codes.data(), item.num_rows, in_features,
              worker->packed.data());
    const uint64_t group_rows = LayoutBytes(kLayout, 16, in_features) / 4;  // of 16 output features
    chunk.first_row = item.first_row / 16 * group_rows;
    chunk.num_rows = worker->packed.size() / 4;
    chunk.raw = std::as_bytes(std::span(worker->packed));
  }

  Status Begin(const WorkItem& item, const ModuleJob& job, const SourceTensor& tensor) {
    if (!item.begins_tensor) return {};
    if (item.tensor == 0 && job.bundle_bytes) {
      OCTAVO_RETURN_IF_ERROR(sink_->BeginModule(*job.bundle_bytes));
    }
    if (item.tensor == 0 && job.is_quantized()) results_.Begin(job);
    return sink_->BeginTensor(IsWeight(item) ? CodesSpec(job.module) : CopySpec(job, tensor));
  }

  const Checkpoint& source_;
  const PipelineOptions& options_;
  std::vector<ModuleJob>& jobs_;
  const std::vector<WorkItem> items_;
  OutputSink* sink_;
  SourceDigest* digest_;
  ProgressMeter* progress_;
  SavePoints* saves_;
  size_t first_unsaved_job_ = 0;
  std::vector<Worker> workers_;
  ModuleResults results_;  // of the module whose turn it is
};

}  // namespace

Result<PipelineOptions> MakePipelineOptions(const format::Quantization& quantization,
                                            int32_t num_threads) {
  PipelineOptions options;
  std::string why;
  options.kernels = kernels::SelectCpuKernels(&why);
  if (options.kernels == nullptr) return Status(ErrorCode::kUnsupported, why);
  options.method = quantization.method;
  options.via_fp16 = quantization.weights_via_fp16;
  options.num_threads = num_threads > 0 ? num_threads : kernels::AvailableCpus();
  return options;
}

Status RunPipeline(const Checkpoint& source, const PipelineOptions& options,
                   std::vector<ModuleJob>* jobs, OutputSink* sink, SourceDigest* digest,
                   ProgressMeter* progress, SavePoints* saves) {
  Pipeline pipeline(source, options, jobs, sink, digest, progress, saves);
  size_t first_item = 0;
  if (saves != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(first_item, saves->Begin(Pass::kConvert, [&](format::ByteReader* in) {
      pipeline.GetState(in);
    }));
  }
  return RunOrdered(pipeline.num_items(), options.num_threads, &pipeline, first_item);
}

Status RefuseWeight(const Checkpoint& source, const SourceTensor& tensor, bool via_fp16) {
  const std::string name = source.files()[tensor.file].path + ": tensor \"" + tensor.name + "\": ";
  const Result<BadValue> bad = FindBadValue(source, tensor, via_fp16);
  if (bad.ok()) {
    return Status(
        ErrorCode::kRefused,
        name + bad->text + (bad->overflows ? " overflows in fp16" : ": a weight must be finite"));
  }
  if (bad.code() != ErrorCode::kNotFound) return bad.status();
  return Status(ErrorCode::kIo, name + "the source changed while it was read");
}

}  // namespace octavo::quant
