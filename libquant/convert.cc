#include "octavo/convert.h"

#include <chrono>
#include <new>

#include "libquant/output_path.h"
#include "libquant/pipeline.h"
#include "libquant/plan.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;

// What Convert carries from step to step.
struct Conversion {
  const ConvertOptions& options;
  const Checkpoint& source;
  format::Quantization quantization;
  Policy policy;
  std::vector<ModuleJob> jobs;
  std::vector<std::string> warnings;
  PipelineOptions pipeline;
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

Status LookAhead(Conversion* conversion, ProgressMeter* progress) {
  if (!NeedsPrescan(*conversion)) return {};
  std::vector<uint32_t> bad;
  OCTAVO_RETURN_IF_ERROR(
      RunPrescan(conversion->source, conversion->pipeline, &conversion->jobs, &bad, progress));
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
  manifest.source.model_type = config.model_type;
  manifest.source.architecture = config.architecture;
  manifest.source.known_architecture = conversion.policy.architecture != nullptr;
  OCTAVO_ASSIGN_OR_RETURN(manifest.source.files, digest->Finish());
  manifest.quantization = conversion.quantization;
  manifest.modules.resize(conversion.jobs.size());
  for (const ModuleJob& job : conversion.jobs) manifest.modules[job.module_idx] = job.module;
  return manifest;
}

// Tensors, assets, manifest; on success the output is there.
Status WriteOutput(Conversion* conversion, ProgressMeter* progress, format::Writer* writer) {
  WriterSink sink(writer);
  SourceDigest digest(&conversion->source, conversion->options.sha256);
  OCTAVO_RETURN_IF_ERROR(RunPipeline(conversion->source, conversion->pipeline, &conversion->jobs,
                                     &sink, &digest, progress));
  for (const std::string& name : conversion->source.assets()) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string content, conversion->source.ReadAsset(name));
    OCTAVO_RETURN_IF_ERROR(writer->AppendAsset(name, std::as_bytes(std::span(content))));
  }
  OCTAVO_ASSIGN_OR_RETURN(format::Manifest manifest, DescribeConversion(*conversion, &digest));
  OCTAVO_RETURN_IF_ERROR(conversion->source.CheckUnchanged());
  return writer->Finish(std::move(manifest));
}

Result<Conversion> Prepare(const Checkpoint& source, const ConvertOptions& options) {
  Conversion conversion{options, source, {}, {}, {}, source.warnings(), {}};
  OCTAVO_ASSIGN_OR_RETURN(conversion.quantization, ResolveQuantization(options));
  OCTAVO_ASSIGN_OR_RETURN(conversion.policy, DecidePolicy(source, options));
  conversion.warnings.insert(conversion.warnings.end(), conversion.policy.warnings.begin(),
                             conversion.policy.warnings.end());
  OCTAVO_ASSIGN_OR_RETURN(
      conversion.jobs,
      MakeJobs(source, conversion.policy, conversion.quantization, options, &conversion.warnings));
  OCTAVO_ASSIGN_OR_RETURN(conversion.pipeline,
                          MakePipelineOptions(conversion.quantization, options.num_threads));
  return conversion;
}

Result<ConvertReport> ConvertChecked(const std::string& source_path, const std::string& output,
                                     const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN_OR_RETURN(Checkpoint source, Checkpoint::Open(source_path));
  OCTAVO_ASSIGN_OR_RETURN(Conversion conversion, Prepare(source, options));
  OCTAVO_RETURN_IF_ERROR(CheckNotSource(source, output));
  OCTAVO_ASSIGN_OR_RETURN(const uint64_t planned_bytes, EstimateFileBytes(source, conversion.jobs));
  const bool is_large = IsLargeBesideMemory(SourceBytes(source) + planned_bytes);
  OCTAVO_ASSIGN_OR_RETURN(
      format::Writer writer,
      format::Writer::Create(output, {.overwrite = options.overwrite,
                                      .codec = options.codec,
                                      .max_shard_bytes = options.max_shard_bytes,
                                      .drops_written = is_large}));
  if (options.codec == format::Codec::kNone) {  // how much zstd saves is not known yet
    OCTAVO_RETURN_IF_ERROR(CheckDiskSpace(output, planned_bytes));
  }
  const uint64_t look_ahead_bytes = NeedsPrescan(conversion) ? QuantizedBytes(conversion.jobs) : 0;
  ProgressMeter progress(options.progress, StoredBytes(conversion.jobs) + look_ahead_bytes);
  source.Stream(is_large);
  OCTAVO_RETURN_IF_ERROR(LookAhead(&conversion, &progress));
  source.Stream(is_large);
  OCTAVO_RETURN_IF_ERROR(WriteOutput(&conversion, &progress, &writer));

  ConvertReport report;
  OCTAVO_ASSIGN_OR_RETURN(const format::Reader reader, format::Reader::Open(output));
  report.manifest = reader.manifest();
  report.files = writer.files();
  report.bytes_source = SourceBytes(source);
  report.bytes_file = writer.total_bytes();
  report.warnings = std::move(conversion.warnings);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace

Result<ConvertReport> Convert(const std::string& source, const std::string& output,
                              const ConvertOptions& options) {
  try {
    return ConvertChecked(source, output, options);
  } catch (const std::bad_alloc&) {
    return Status(ErrorCode::kLimit, "out of memory");
  }
}

}  // namespace octavo::quant
