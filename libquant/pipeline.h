// The streaming pipeline: source rows in, chunks of the output out, in one pass and constant
// memory.
//
// Work items (work_items.h) are taken by all threads; what must be in order (source digests, places
// in the file, sums over rows) happens in each item's commit (ordered_run.h). So the output is the
// same for any number of threads.
#pragma once

#include <vector>

#include "libquant/module_job.h"
#include "libquant/output_sink.h"
#include "libquant/progress_meter.h"
#include "libquant/save_points.h"
#include "libquant/source_digest.h"
#include "octavo/kernels.h"
#include "octavo/manifest.h"

namespace octavo::quant {

struct PipelineOptions {
  const kernels::CpuKernels* kernels = nullptr;
  format::Method method = format::Method::kVectorWise;
  bool via_fp16 = false;
  int32_t num_threads = 1;
};

// The kernels that OCTAVO_CPU or the machine choose; num_threads 0: one for each CPU. Errors:
// kUnsupported.
Result<PipelineOptions> MakePipelineOptions(const format::Quantization& quantization,
                                            int32_t num_threads);

// Streams all jobs into the sink; fills the quantized modules' `error`. With `saves` (may be null)
// it goes on where they stop, and adds to them. Errors: kRefused (a weight
// that is not finite or overflows in fp16, with tensor and index), kIo, kCancelled, what the sink
// gives.
Status RunPipeline(const format::Checkpoint& source, const PipelineOptions& options,
                   std::vector<ModuleJob>* jobs, OutputSink* sink, SourceDigest* digest,
                   ProgressMeter* progress, SavePoints* saves = nullptr);

// A pass over the quantized weights alone: takes the ranges that some methods need, and finds the
// weights that hold a value which is not finite. `bad`: their jobs' numbers, ascending.
Status RunPrescan(const format::Checkpoint& source, const PipelineOptions& options,
                  std::vector<ModuleJob>* jobs, std::vector<uint32_t>* bad, ProgressMeter* progress,
                  SavePoints* saves = nullptr);

// Why a weight cannot be quantized, as kRefused: "tensor "x": NaN at [3, 17]".
Status RefuseWeight(const format::Checkpoint& source, const format::SourceTensor& tensor,
                    bool via_fp16);

}  // namespace octavo::quant
