// A file against its source: everything recomputed by the same pipeline, and compared.
#include <algorithm>
#include <cstring>

#include "libquant/compare_sink.h"
#include "libquant/out_of_memory.h"
#include "libquant/output_path.h"
#include "libquant/pipeline.h"
#include "libquant/plan.h"
#include "octavo/convert.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;
using format::Finding;
using format::Module;
using format::Reader;

// Kept columns are the file's own choice; a job takes them from there.
Status TakeKeptIndex(const Reader& reader, ModuleJob* job) {
  if (job->module.kept_index.empty()) return {};
  const format::TensorEntry* entry = reader.FindTensor(job->module.kept_index);
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, reader.ReadAll(*entry));
  job->kept_index.resize(bytes.size() / sizeof(int32_t));
  std::memcpy(job->kept_index.data(), bytes.data(), bytes.size());
  int64_t previous = -1;
  for (const int32_t index : job->kept_index) {
    if (index <= previous || static_cast<uint64_t>(index) >= job->module.in_features) {
      return Status(ErrorCode::kInvalidFile,
                    "kept columns are not ascending below in_features (R29)");
    }
    previous = index;
  }
  return {};
}

// Jobs from what the file says of its modules; one that cannot be is a finding.
std::vector<ModuleJob> JobsOfFile(const Reader& reader, const Checkpoint& source,
                                  CompareSink* sink) {
  std::vector<ModuleJob> jobs;
  for (const Module& module : reader.manifest().modules) {
    Result<ModuleJob> job = MakeJob(module, source);
    Status status = job.ok() ? TakeKeptIndex(reader, &*job) : job.status();
    if (status.ok()) {
      job->module_idx = jobs.size();
      jobs.push_back(std::move(job).value());
    } else {
      sink->Report(module.name, status.message());
    }
  }
  return jobs;
}

// Tied modules whose weight the source stores again: the bytes must be those of what they are tied
// to.
void CompareTies(const Reader& reader, const Checkpoint& source, CompareSink* sink) {
  for (const Module& module : reader.manifest().modules) {
    if (module.tied_to.empty() || module.source_tensor.empty()) continue;
    const Result<bool> is_equal = HaveEqualBytes(source, module.source_tensor, module.weight);
    if (!is_equal.ok()) {
      sink->Report(module.name, is_equal.status().message());
    } else if (!*is_equal) {
      sink->Report(module.name, "tied to \"" + module.tied_to + "\", but the source's \"" +
                                    module.source_tensor + "\" differs from \"" + module.weight +
                                    "\"");
    }
  }
}

// Tensors on one side only.
void CompareNames(const Reader& reader, const Checkpoint& source, CompareSink* sink) {
  std::set<std::string> taken;
  for (const Module& module : reader.manifest().modules) {
    taken.insert(module.source_tensor);
    taken.insert(module.bias);
    taken.insert(module.tensors.begin(), module.tensors.end());
  }
  const FindTensor find = [&source](std::string_view name) { return source.Find(name); };
  for (const format::SourceTensor& tensor : source.tensors()) {
    if (!taken.contains(tensor.name) && !IsCompanion(tensor, find))
      sink->Report(tensor.name, "the source has it, the file does not");
  }
  for (const format::TensorEntry& entry : reader.manifest().tensors) {
    if (!sink->compared().contains(entry.name))
      sink->Report(entry.name, "does not come from the source");
  }
}

void CompareAssets(const Reader& reader, const Checkpoint& source, CompareSink* sink) {
  for (const std::string& name : source.assets()) {
    const format::TensorEntry* entry = reader.FindAsset(name);
    if (entry == nullptr) {
      sink->Report(name, "the source has it, the file does not");
      continue;
    }
    const Result<std::string> expected = source.ReadAsset(name);
    const Result<std::vector<std::byte>> stored = reader.ReadAll(*entry);
    if (!expected.ok() || !stored.ok()) {
      sink->Report(name, (expected.ok() ? stored.status() : expected.status()).message());
      continue;
    }
    const auto bytes = std::as_bytes(std::span(*expected));
    const auto [it, other] = std::ranges::mismatch(*stored, bytes);
    if (it != stored->end() || other != bytes.end()) {
      sink->Report(name,
                   "differs from the source's at byte " + std::to_string(it - stored->begin()));
    }
  }
  for (const format::TensorEntry& entry : reader.manifest().assets) {
    if (std::ranges::find(source.assets(), entry.name) == source.assets().end()) {
      sink->Report(entry.name, "the source has no such file");
    }
  }
}

void CompareDigests(const Reader& reader, const std::vector<format::SourceFile>& files,
                    CompareSink* sink) {
  const std::vector<format::SourceFile>& stated = reader.manifest().source.files;
  if (stated.size() != files.size()) {
    sink->Report("manifest", "made from " + std::to_string(stated.size()) +
                                 " source files, this source has " + std::to_string(files.size()));
  }
  for (const format::SourceFile& file : stated) {
    const auto it = std::ranges::find(files, file.name, &format::SourceFile::name);
    if (it == files.end()) {
      sink->Report("manifest",
                   "made from a source file " + file.name + ", which this source does not have");
    } else if (!file.sha256.empty() && it->sha256 != file.sha256) {
      sink->Report("manifest", "made from a " + file.name + " with SHA-256 " + file.sha256 +
                                   ", this one has " + it->sha256);
    } else if (it->xxh3 != file.xxh3 || it->bytes != file.bytes) {
      sink->Report("manifest", "made from a " + file.name + " with XXH3 " + file.xxh3 +
                                   ", this one has " + it->xxh3);
    }
  }
}

Result<std::vector<Finding>> Verify(const std::string& file, const std::string& source_path,
                                    const ConvertOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const Reader reader, Reader::Open(file));
  OCTAVO_ASSIGN_OR_RETURN(Checkpoint source, Checkpoint::Open(source_path));
  CompareSink sink(&reader);
  std::vector<ModuleJob> jobs = JobsOfFile(reader, source, &sink);

  OCTAVO_ASSIGN_OR_RETURN(const PipelineOptions pipeline,
                          MakePipelineOptions(reader.manifest().quantization, options.num_threads));
  const bool has_prescan = NeedsMatrixRange(pipeline.method);
  ProgressMeter progress(options.progress,
                         StoredBytes(jobs) + (has_prescan ? QuantizedBytes(jobs) : 0));
  std::vector<uint32_t> bad;
  const bool is_large = IsLargeBesideMemory(SourceBytes(source) + reader.total_bytes());
  source.Stream(is_large);
  if (has_prescan) OCTAVO_RETURN_IF_ERROR(RunPrescan(source, pipeline, &jobs, &bad, &progress));
  if (!bad.empty())
    return RefuseWeight(source, *jobs[bad.front()].weight.tensor, pipeline.via_fp16);
  source.Stream(is_large);  // from the front once more
  const bool has_sha256 =
      std::ranges::any_of(reader.manifest().source.files,
                          [](const format::SourceFile& stated) { return !stated.sha256.empty(); });
  SourceDigest digest(&source, {}, has_sha256);
  OCTAVO_RETURN_IF_ERROR(RunPipeline(source, pipeline, &jobs, &sink, &digest, &progress));

  CompareTies(reader, source, &sink);
  CompareNames(reader, source, &sink);
  CompareAssets(reader, source, &sink);
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<format::SourceFile> files, digest.Finish());
  CompareDigests(reader, files, &sink);
  OCTAVO_RETURN_IF_ERROR(source.CheckUnchanged());
  return std::move(sink.findings());
}

}  // namespace

Result<std::vector<Finding>> VerifyAgainst(const std::string& file, const std::string& source,
                                           const ConvertOptions& options) {
  return CatchOutOfMemory([&] { return Verify(file, source, options); });
}

}  // namespace octavo::quant
