#include "libquant/plan.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "libquant/kept_columns.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;
using format::SourceTensor;

constexpr uint64_t kCompareBytes = uint64_t{1} << 20;
constexpr uint64_t kHeaderBytes = 128;
// Text of the manifest, measured on real files and rounded up.
constexpr uint64_t kManifestBytesPerModule = 900;
constexpr uint64_t kManifestBytesPerTensor = 200;
constexpr uint64_t kManifestBytesPerChunk = 19;

const Decision* FindDecision(const Policy& policy, const std::string& module) {
  const auto it = std::ranges::find(policy.decisions, module, &Decision::module);
  return it == policy.decisions.end() ? nullptr : &*it;
}

// Tied modules that have tensors of their own (a bias) follow what they are tied to: both must be
// in one shard.
std::vector<ModuleJob> PutTiedBehind(std::vector<ModuleJob> jobs) {
  std::multimap<std::string, ModuleJob> tied;
  for (const ModuleJob& job : jobs) {
    if (!job.module.tied_to.empty()) tied.emplace(job.module.tied_to, job);
  }
  std::vector<ModuleJob> ordered;
  for (ModuleJob& job : jobs) {
    if (!job.module.tied_to.empty()) continue;
    const size_t first = ordered.size();
    ordered.push_back(std::move(job));
    const auto [begin, end] = tied.equal_range(ordered[first].module.name);
    for (auto it = begin; it != end; ++it) ordered.push_back(std::move(it->second));
    uint64_t bytes = 0;
    for (size_t i = first; i < ordered.size(); ++i) bytes += JobBytes(ordered[i]);
    ordered[first].bundle_bytes = bytes;
  }
  return ordered;
}

uint64_t Aligned(uint64_t offset, uint64_t bytes) {
  const uint64_t alignment = bytes >= 65536 ? 4096 : 64;
  return (offset + alignment - 1) / alignment * alignment;
}

uint64_t EstimateChunks(const TensorSpec& spec) {
  if (spec.chunk_rows == 0) return 1 + spec.bytes() / (uint64_t{1} << 20);
  return 1 + *spec.shape.NumRows() / spec.chunk_rows +
         (spec.matrix_rows > 0 ? *spec.shape.NumRows() / spec.matrix_rows : 0);
}

}  // namespace

std::vector<TensorSpec> AllSpecs(const ModuleJob& job) {
  std::vector<TensorSpec> specs;
  for (const SourceTensor* tensor : job.tensors) {
    specs.push_back(tensor == job.weight.tensor ? CodesSpec(job.module) : CopySpec(job, *tensor));
  }
  if (job.is_quantized()) {
    for (TensorSpec& spec : SmallSpecs(job)) specs.push_back(std::move(spec));
  }
  return specs;
}

Result<bool> HaveEqualBytes(const Checkpoint& source, const std::string& name_a,
                            const std::string& name_b) {
  const SourceTensor* a = source.Find(name_a);
  const SourceTensor* b = source.Find(name_b);
  if (a == nullptr || b == nullptr) {
    return Status(ErrorCode::kNotFound,
                  "the source has no tensor \"" + (a == nullptr ? name_a : name_b) + "\"");
  }
  if (a->dtype != b->dtype || a->shape != b->shape) return false;
  std::vector<std::byte> bytes_a(std::min(a->bytes, kCompareBytes));
  std::vector<std::byte> bytes_b(bytes_a.size());
  for (uint64_t done = 0; done < a->bytes; done += bytes_a.size()) {
    const uint64_t count = std::min<uint64_t>(bytes_a.size(), a->bytes - done);
    OCTAVO_RETURN_IF_ERROR(source.ReadAt(a->file, a->offset + done, {bytes_a.data(), count}));
    OCTAVO_RETURN_IF_ERROR(source.ReadAt(b->file, b->offset + done, {bytes_b.data(), count}));
    if (std::memcmp(bytes_a.data(), bytes_b.data(), count) != 0) return false;
  }
  return true;
}

namespace {

// A head that is stored and tied: stored once if the bytes are those of the embedding, else a head
// of its own.
Status ConfirmTies(const Checkpoint& source, Policy* policy) {
  for (Decision& head : policy->decisions) {
    if (head.action != Action::kTie || head.weight.empty()) continue;
    const Decision* shared = FindDecision(*policy, head.tied_to);
    OCTAVO_ASSIGN_OR_RETURN(const bool is_equal,
                            HaveEqualBytes(source, head.weight, shared->weight));
    if (is_equal) continue;
    policy->warnings.push_back("\"" + head.weight + "\" differs from \"" + shared->weight +
                               "\" although config.json ties them: kept as an own head");
    head.action = Action::kKeep;
    head.reason = "output head of its own, unlike what config.json says";
    head.tied_to.clear();
  }
  return {};
}

// bitsandbytes before 0.45 had layouts for certain GPUs, which only these tensors tell.
Status CheckWeightFormats(const Checkpoint& source) {
  for (const SourceTensor& tensor : source.tensors()) {
    if (!tensor.name.ends_with(".weight_format")) continue;
    std::byte format{0};
    if (tensor.bytes == 1) {
      OCTAVO_RETURN_IF_ERROR(source.ReadAt(tensor.file, tensor.offset, {&format, 1}));
    }
    if (tensor.bytes == 1 && format == std::byte{0}) continue;
    return Status(ErrorCode::kRefused,
                  source.files()[tensor.file].path + ": tensor \"" + tensor.name +
                      "\": the codes are not in rows, but in the order of an old GPU; load and "
                      "save the model with bitsandbytes 0.44 first");
  }
  return {};
}

void AddJobs(const std::vector<ModuleJob>& jobs, Plan* plan) {
  plan->module_bytes.resize(jobs.size());
  plan->bytes_quantized_source = QuantizedBytes(jobs);
  for (const ModuleJob& job : jobs) {
    plan->module_bytes[job.module_idx] = JobBytes(job);
    plan->kept_columns += job.kept_index.size();
    if (!job.is_quantized()) continue;
    plan->bytes_quantized_file += plan->module_bytes[job.module_idx];
    for (const SourceTensor* tensor : job.tensors) {
      if (tensor != job.weight.tensor) plan->bytes_quantized_file -= tensor->bytes;
    }
  }
}

}  // namespace

Result<Policy> DecidePolicy(const Checkpoint& source, const ConvertOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(source.config_json()));
  OCTAVO_ASSIGN_OR_RETURN(Policy policy, DecideModules(source.tensors(), config, options.policy));
  OCTAVO_RETURN_IF_ERROR(ConfirmTies(source, &policy));
  OCTAVO_RETURN_IF_ERROR(CheckWeightFormats(source));
  return policy;
}

Result<format::Quantization> ResolveFor(const Policy& policy, const ConvertOptions& options) {
  if (std::ranges::none_of(policy.decisions, &Decision::is_taken_over)) {
    return ResolveQuantization(options);
  }
  const format::Method method = options.method.value_or(format::Method::kVectorWise);
  if (!options.keep_columns.empty() || method != format::Method::kVectorWise) {
    return Status(ErrorCode::kInvalidArgument,
                  "the source is int8 already, its codes are taken over: there can be no kept "
                  "columns, and no method but vector-wise");
  }
  ConvertOptions with_threshold = options;
  if (!options.threshold) with_threshold.threshold = policy.config.llm_int8_threshold;
  return ResolveQuantization(with_threshold);
}

Result<std::vector<ModuleJob>> MakeJobs(const Checkpoint& source, const Policy& policy,
                                        const format::Quantization& quantization,
                                        const ConvertOptions& options,
                                        std::vector<std::string>* warnings) {
  KeptColumns kept;
  if (!options.keep_columns.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(kept, ChooseKeptColumns(options.keep_columns, options.keep_budget,
                                                    policy.decisions, warnings));
  }
  std::vector<ModuleJob> jobs;
  for (const Decision& decision : policy.decisions) {
    const auto kept_it = kept.find(decision.module);
    const bool has_kept = kept_it != kept.end();
    format::Module module = MakeModule(decision, source, quantization, options.layout, has_kept);
    if (decision.action == Action::kTie) {
      module.weight = FindDecision(policy, decision.tied_to)->weight;
    }
    OCTAVO_ASSIGN_OR_RETURN(ModuleJob job, MakeJob(module, source));
    if (has_kept) job.kept_index = kept_it->second;
    job.module_idx = jobs.size();
    jobs.push_back(std::move(job));
  }
  return PutTiedBehind(std::move(jobs));
}

uint64_t SourceBytes(const Checkpoint& source) {
  uint64_t bytes = 0;
  for (const SourceTensor& tensor : source.tensors()) bytes += tensor.bytes;
  return bytes;
}

uint64_t QuantizedBytes(const std::vector<ModuleJob>& jobs) {
  uint64_t bytes = 0;
  for (const ModuleJob& job : jobs) bytes += job.is_quantized() ? job.weight.tensor->bytes : 0;
  return bytes;
}

uint64_t StoredBytes(const std::vector<ModuleJob>& jobs) {
  uint64_t bytes = 0;
  for (const ModuleJob& job : jobs) {
    for (const format::SourceTensor* tensor : job.tensors) bytes += tensor->bytes;
  }
  return bytes;
}

Result<uint64_t> EstimateFileBytes(const Checkpoint& source, const std::vector<ModuleJob>& jobs) {
  uint64_t end = kHeaderBytes;
  uint64_t manifest_bytes = 1024;
  for (const ModuleJob& job : jobs) {
    manifest_bytes += kManifestBytesPerModule;
    for (const TensorSpec& spec : AllSpecs(job)) {
      end = Aligned(end, spec.bytes()) + spec.bytes();
      manifest_bytes += kManifestBytesPerTensor + EstimateChunks(spec) * kManifestBytesPerChunk;
    }
  }
  for (const std::string& name : source.assets()) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string content, source.ReadAsset(name));
    end = Aligned(end, content.size()) + content.size();
    manifest_bytes += kManifestBytesPerTensor;
  }
  return Aligned(end, 0) + manifest_bytes;
}

Result<Plan> PlanConversion(const Checkpoint& source, const ConvertOptions& options) {
  Plan plan;
  OCTAVO_ASSIGN_OR_RETURN(plan.policy, DecidePolicy(source, options));
  OCTAVO_ASSIGN_OR_RETURN(plan.quantization, ResolveFor(plan.policy, options));
  plan.warnings = source.warnings();
  plan.warnings.insert(plan.warnings.end(), plan.policy.warnings.begin(),
                       plan.policy.warnings.end());
  OCTAVO_ASSIGN_OR_RETURN(
      const std::vector<ModuleJob> jobs,
      MakeJobs(source, plan.policy, plan.quantization, options, &plan.warnings));
  plan.bytes_source = SourceBytes(source);
  OCTAVO_ASSIGN_OR_RETURN(plan.bytes_file, EstimateFileBytes(source, jobs));
  AddJobs(jobs, &plan);
  return plan;
}

}  // namespace octavo::quant
