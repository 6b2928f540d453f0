#include "octavo/convert.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "libquant/fingerprint.h"
#include "libquant/out_of_memory.h"
#include "libquant/output_path.h"
#include "libquant/parts.h"
#include "libquant/pipeline.h"
#include "libquant/plan.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;

// Two intervals between save points are lost at most: 4 % of the work, where they are not the
// minimum.
constexpr uint64_t kSavePoints = 50;
constexpr uint64_t kMinSaveInterval = uint64_t{16} << 20;  // about as long as saving takes

// What Convert carries from step to step.
struct Conversion {
  const ConvertOptions& options;
  const Checkpoint& source;
  format::Quantization quantization;
  Policy policy;
  std::vector<ModuleJob> jobs;
  std::vector<std::string> warnings;
  PipelineOptions pipeline;
  bool is_large = false;  // source and output, beside the memory
};

bool NeedsPrescan(const Conversion& conversion) {
  return NeedsMatrixRange(conversion.quantization.method) ||
         conversion.options.on_nonfinite == OnNonfinite::kSkip;
}

// Modules with a value that is not finite stay in 16 bit, and the jobs are made anew.
Status SkipBadModules(const std::vector<uint32_t>& bad, Conversion* conversion) {
  for (const uint32_t job_idx : bad) {
    const ModuleJob& job = conversion->jobs[job_idx];
    OCTAVO_ASSIGN_OR_RETURN(
        const BadValue value,
        FindBadValue(conversion->source, *job.weight.tensor, conversion->pipeline.via_fp16));
    if (value.overflows) {
      return RefuseWeight(conversion->source, *job.weight.tensor, conversion->pipeline.via_fp16);
    }
    Decision& decision = conversion->policy.decisions[job.module_idx];
    decision.action = Action::kKeep;
    decision.reason = "not finite: " + value.text;
    conversion->warnings.push_back("module \"" + decision.module +
                                   "\" stays in 16 bit: " + value.text);
  }
  std::vector<ModuleJob> before = std::move(conversion->jobs);
  std::vector<std::string> repeated;  // what choosing columns had to say was said the first time
  OCTAVO_ASSIGN_OR_RETURN(conversion->jobs,
                          MakeJobs(conversion->source, conversion->policy, conversion->quantization,
                                   conversion->options, &repeated));
  for (size_t i = 0; i < before.size(); ++i) conversion->jobs[i].ranges = before[i].ranges;
  return {};
}

Status LookAhead(Conversion* conversion, ProgressMeter* progress, SavePoints* saves) {
  if (!NeedsPrescan(*conversion)) return {};
  std::vector<uint32_t> bad;
  OCTAVO_RETURN_IF_ERROR(RunPrescan(conversion->source, conversion->pipeline, &conversion->jobs,
                                    &bad, progress, saves));
  if (bad.empty()) return {};
  if (conversion->options.on_nonfinite == OnNonfinite::kError) {
    return RefuseWeight(conversion->source, *conversion->jobs[bad.front()].weight.tensor,
                        conversion->pipeline.via_fp16);
  }
  return SkipBadModules(bad, conversion);
}

Result<format::Manifest> DescribeConversion(const Conversion& conversion, SourceDigest* digest) {
  format::Manifest manifest;
  manifest.converter = "octavo " OCTAVO_VERSION;
  OCTAVO_ASSIGN_OR_RETURN(const ModelConfig config,
                          ParseModelConfig(conversion.source.config_json()));
  manifest.source.format = conversion.source.format();
  manifest.source.model_type = config.model_type;
  manifest.source.architecture = config.architecture;
  manifest.source.known_architecture = conversion.policy.architecture != nullptr;
  OCTAVO_ASSIGN_OR_RETURN(manifest.source.files, digest->Finish());
  manifest.quantization = conversion.quantization;
  std::map<size_t, const ModuleJob*> in_order;
  for (const ModuleJob& job : conversion.jobs) in_order.emplace(job.module_idx, &job);
  for (const auto& [idx, job] : in_order) manifest.modules.push_back(job->module);
  return manifest;
}

PartState DescribePart(const Conversion& conversion, const PartPlan& plan, size_t num_modules) {
  PartState state;
  state.part = conversion.options.part;
  state.num_modules = num_modules;
  for (const ModuleJob& job : conversion.jobs) state.module_idx.push_back(job.module_idx);
  std::ranges::sort(state.module_idx);
  for (size_t file = 0; file < plan.hashes_file.size(); ++file) {
    if (plan.hashes_file[file]) state.source_files.push_back(file);
  }
  state.num_source_files = plan.hashes_file.size();
  state.bytes_source = SourceBytes(conversion.source);
  return state;
}

// Tensors, assets, manifest; on success the output is there, or the part of it.
Status WriteOutput(Conversion* conversion, ProgressMeter* progress, SavePoints* saves,
                   format::Writer* writer) {
  const bool is_part = conversion->options.part.count > 0;
  const size_t num_modules = conversion->jobs.size();
  PartPlan plan{0, num_modules, conversion->source.assets(), {}};
  if (is_part) {
    OCTAVO_ASSIGN_OR_RETURN(plan,
                            PlanPart(conversion->source, conversion->jobs, conversion->options));
    conversion->jobs.erase(conversion->jobs.begin() + plan.end_job, conversion->jobs.end());
    conversion->jobs.erase(conversion->jobs.begin(), conversion->jobs.begin() + plan.begin_job);
    progress->SetRest(StoredBytes(conversion->jobs));
  }
  WriterSink sink(writer);
  SourceDigest digest(&conversion->source, plan.hashes_file, conversion->options.sha256);
  OCTAVO_RETURN_IF_ERROR(RunPipeline(conversion->source, conversion->pipeline, &conversion->jobs,
                                     &sink, &digest, progress, saves));
  for (const std::string& name : plan.assets) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string content, conversion->source.ReadAsset(name));
    OCTAVO_RETURN_IF_ERROR(writer->AppendAsset(name, std::as_bytes(std::span(content))));
  }
  OCTAVO_ASSIGN_OR_RETURN(format::Manifest manifest, DescribeConversion(*conversion, &digest));
  OCTAVO_RETURN_IF_ERROR(conversion->source.CheckUnchanged());
  if (!is_part) return writer->Finish(std::move(manifest));
  return writer->FinishPart(std::move(manifest),
                            DescribePart(*conversion, plan, num_modules).Encode());
}

uint64_t SaveInterval(const ConvertOptions& options, uint64_t bytes_total) {
  if (options.save_interval_bytes > 0) return options.save_interval_bytes;
  return std::max(bytes_total / kSavePoints, kMinSaveInterval);
}

Status KeptForResuming(const Status& status) {
  return Status(status.code(),
                status.message() + "; what is done so far is kept: go on with --resume");
}

Result<Conversion> Prepare(const Checkpoint& source, const ConvertOptions& options) {
  Conversion conversion{options, source, {}, {}, {}, source.warnings(), {}, false};
  OCTAVO_ASSIGN_OR_RETURN(conversion.policy, DecidePolicy(source, options));
  OCTAVO_ASSIGN_OR_RETURN(conversion.quantization, ResolveFor(conversion.policy, options));
  conversion.warnings.insert(conversion.warnings.end(), conversion.policy.warnings.begin(),
                             conversion.policy.warnings.end());
  OCTAVO_ASSIGN_OR_RETURN(
      conversion.jobs,
      MakeJobs(source, conversion.policy, conversion.quantization, options, &conversion.warnings));
  OCTAVO_ASSIGN_OR_RETURN(conversion.pipeline,
                          MakePipelineOptions(conversion.quantization, options.num_threads));
  return conversion;
}

// Everything that reads weights and writes.
Status Run(Conversion* conversion, format::Writer* writer, uint64_t* bytes_resumed) {
  const std::vector<ModuleJob>& jobs = conversion->jobs;
  uint64_t bytes_total = StoredBytes(jobs);
  if (conversion->options.part.count > 0) {
    OCTAVO_ASSIGN_OR_RETURN(const PartPlan plan,
                            PlanPart(conversion->source, jobs, conversion->options));
    bytes_total = StoredBytes({jobs.begin() + plan.begin_job, jobs.begin() + plan.end_job});
  }
  if (NeedsPrescan(*conversion)) bytes_total += QuantizedBytes(jobs);
  ProgressMeter progress(conversion->options.progress, bytes_total);
  SavePoints saves(writer, SaveInterval(conversion->options, bytes_total), &progress);
  *bytes_resumed = saves.BytesDone();
  conversion->source.Stream(conversion->is_large);
  OCTAVO_RETURN_IF_ERROR(LookAhead(conversion, &progress, &saves));
  conversion->source.Stream(conversion->is_large);  // from the front once more
  return WriteOutput(conversion, &progress, &saves, writer);
}

// Whether running again could do better, so that what is done is worth keeping.
bool CanGoOn(const Status& status) {
  return status.code() == ErrorCode::kIo || status.code() == ErrorCode::kCancelled ||
         status.code() == ErrorCode::kLimit;
}

Status CheckPart(const ConvertOptions& options) {
  const PartOfMany& part = options.part;
  if (part.count == 0) return {};
  if (part.index == 0 || part.index > part.count || options.max_shard_bytes == 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "a part is one of 1 to N of a conversion into shards of a largest size");
  }
  return {};
}

Result<ConvertReport> ConvertChecked(const std::string& source_path, const std::string& whole,
                                     const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const bool is_part = options.part.count > 0;
  const std::string output = is_part ? PartPath(whole, options.part) : whole;
  OCTAVO_RETURN_IF_ERROR(CheckPart(options));
  OCTAVO_ASSIGN_OR_RETURN(const Checkpoint source, Checkpoint::Open(source_path));
  OCTAVO_ASSIGN_OR_RETURN(Conversion conversion, Prepare(source, options));
  OCTAVO_RETURN_IF_ERROR(CheckNotSource(source, whole));
  OCTAVO_ASSIGN_OR_RETURN(const uint64_t planned_bytes, EstimateFileBytes(source, conversion.jobs));
  conversion.is_large = IsLargeBesideMemory(SourceBytes(source) + planned_bytes);
  OCTAVO_ASSIGN_OR_RETURN(
      format::Writer writer,
      format::Writer::Create(
          output,
          {.overwrite = options.overwrite,
           .codec = options.codec,
           .max_shard_bytes = options.max_shard_bytes,
           .drops_written = conversion.is_large,
           .fingerprint = Fingerprint(source, options, conversion.quantization, conversion.jobs),
           .resume = options.resume,
           .is_part = is_part}));
  ConvertReport report;
  report.bytes_source = SourceBytes(source);
  report.part = options.part;
  if (!writer.is_complete()) {
    // How much zstd saves is not known yet, nor what an interrupted run has written already.
    if (options.codec == format::Codec::kNone && writer.saved_states().empty()) {
      OCTAVO_RETURN_IF_ERROR(
          CheckDiskSpace(output, planned_bytes / std::max(options.part.count, 1u)));
    }
    const Status status = Run(&conversion, &writer, &report.bytes_resumed);
    const bool can_go_on = CanGoOn(status) && source.CheckUnchanged().ok();
    if (!status.ok() && !can_go_on) writer.Discard();
    if (!status.ok() && writer.has_save_point()) return KeptForResuming(status);
    OCTAVO_RETURN_IF_ERROR(status);
    report.manifest = writer.manifest();
    report.files = writer.files();
    report.bytes_file = writer.total_bytes();
  } else if (is_part) {
    OCTAVO_RETURN_IF_ERROR(DescribeCompletePart(output, &report));
  } else {
    OCTAVO_RETURN_IF_ERROR(DescribeComplete(output, &report));
  }
  report.warnings = std::move(conversion.warnings);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace

std::optional<format::CodeLayout> LayoutFromOption(std::string_view name) {
  return name == "packed" ? format::CodeLayout::kVnni16x4 : format::CodeLayoutFromName(name);
}

Result<ConvertReport> Convert(const std::string& source, const std::string& output,
                              const ConvertOptions& options) {
  return CatchOutOfMemory([&] { return ConvertChecked(source, output, options); });
}

}  // namespace octavo::quant
