#include "libquant/export_plan.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <unordered_set>

#include "libquant/name_rules.h"
#include "octavo/policy.h"

namespace octavo::quant {
namespace {

using format::Module;
using format::ModuleKind;
using format::Reader;
using format::ScaleConvention;
using format::TensorEntry;

constexpr std::string_view kWeightEnd = ".weight";

// Why the format has no place for the module's codes; empty: it has one.
std::string_view WhyNotInt8(const Module& module, ExportFormat format, bool is_conv1d) {
  if (module.kind == ModuleKind::kExperts) return "it is a stack of experts";
  if (format == ExportFormat::kTransformers) return "";
  if (!module.scheme->zero_point.empty()) return "it has zero points";
  if (!module.source_tensor.ends_with(kWeightEnd)) return "its tensor is not called \"….weight\"";
  if (format == ExportFormat::kBitsandbytes &&
      module.scheme->convention == ScaleConvention::kStep) {
    return "its scales are steps, not absolute maxima";
  }
  if (format == ExportFormat::kCompressedTensors && is_conv1d) {
    return "it is a Conv1D, and the format knows Linear alone";
  }
  return "";
}

Shape WeightShape(const Module& module, bool transposed) {
  const uint64_t rows = transposed ? module.in_features : module.out_features;
  const uint64_t columns = transposed ? module.out_features : module.in_features;
  return module.kind == ModuleKind::kExperts ? Shape{module.experts, rows, columns}
                                             : Shape{rows, columns};
}

// Steps that were taken over go back in the type they came in.
DType StepsDType(const format::SchemeDescriptor& scheme) {
  const DType dtype = scheme.scales_source_dtype.value_or(DType::kF32);
  const bool is_own = scheme.convention == ScaleConvention::kStep && IsQuantizable(dtype);
  return is_own ? dtype : DType::kF32;
}

class Planner {
 public:
  Planner(const Reader& reader, const ExportOptions& options, DType weights_dtype)
      : reader_(reader),
        options_(options),
        weights_dtype_(weights_dtype),
        facts_(FindArchitecture(reader.manifest().source.model_type)) {}

  Result<ExportPlan> Run() {
    for (const Module& module : reader_.manifest().modules) {
      Add(module);
      EndBundle();
    }
    if (options_.format != ExportFormat::kSafetensors && plan_.int8_modules.empty()) {
      std::string why = reasons_.empty() ? "no module of it is quantized" : "of its modules";
      for (const auto& [reason, count] : reasons_)
        why += ", " + std::to_string(count) + ": " + reason;
      return Status(ErrorCode::kRefused, "nothing of this file can be int8 in the format " +
                                             std::string(Name(options_.format)) + ": " + why +
                                             "; export it to safetensors instead");
    }
    Warn();
    Arrange();
    return std::move(plan_);
  }

 private:
  // What 16-bit checkpoints keep as [in_features, out_features]. Sources that were int8 already
  // have it turned around, so the module does not tell.
  bool IsConv1d(const Module& module) const {
    if (module.source_dtype != DType::kI8 || facts_ == nullptr) return module.transposed;
    return FindEnding(facts_->transposed, module.name) != nullptr;
  }

  void Add(const Module& module) {
    const bool multiplies = module.kind == ModuleKind::kLinear ||
                            module.kind == ModuleKind::kHead || module.kind == ModuleKind::kRouter;
    if (module.scheme) {
      const std::string_view why = options_.format == ExportFormat::kSafetensors
                                       ? std::string_view()
                                       : WhyNotInt8(module, options_.format, IsConv1d(module));
      if (options_.format == ExportFormat::kSafetensors) {
        AddWeights(module);
      } else if (why.empty()) {
        AddCodes(module);
      } else {
        ++reasons_[std::string(why)];
        if (multiplies) plan_.other_linears.push_back(module.name);
        AddWeights(module);
      }
    } else {
      if (multiplies) plan_.other_linears.push_back(module.name);
      if (module.tied_to.empty()) AddStored(module.weight);
    }
    AddStored(module.bias);
    for (const std::string& name : module.tensors) AddStored(name);
  }

  void AddStored(const std::string& name) { AddStoredAs(name, name); }
  // Nothing where `name` is empty.
  void AddStoredAs(const std::string& exported, const std::string& name) {
    const TensorEntry* entry = name.empty() ? nullptr : reader_.FindTensor(name);
    if (entry == nullptr) return;
    Put({.spec = {exported, entry->dtype, entry->shape},
         .content = Content::kStored,
         .entry = entry});
  }

  void AddWeights(const Module& module) {
    DType dtype = module.source_dtype.value_or(weights_dtype_);
    if (!IsQuantizable(dtype)) dtype = weights_dtype_;
    const bool transposed = IsConv1d(module);
    Put({.spec = {module.source_tensor, dtype, WeightShape(module, transposed)},
         .content = Content::kWeights,
         .entry = reader_.FindTensor(module.scheme->codes),
         .module = &module,
         .transposed = transposed});
  }

  // Everything the module has but the sums of its codes, which follow from them.
  void AddAll(const Module& module) {
    const format::SchemeDescriptor& scheme = *module.scheme;
    const std::string weight = module.name + std::string(kWeightEnd);
    plan_.int8_modules.push_back(module.name);
    Put({.spec = {weight, DType::kI8, Shape{module.out_features, module.in_features}},
         .content = Content::kCodes,
         .entry = reader_.FindTensor(scheme.codes),
         .module = &module});
    AddStoredAs(weight + (scheme.convention == ScaleConvention::kStep ? "_step" : "_absmax"),
                scheme.scales);
    AddStoredAs(weight + "_zero_point", scheme.zero_point);
    AddStoredAs(weight + "_kept_index", module.kept_index);
    AddStoredAs(weight + "_kept", module.kept_weight);
  }

  void AddCodes(const Module& module) {
    if (options_.format == ExportFormat::kTransformers) return AddAll(module);
    has_lost_columns_ = has_lost_columns_ || !module.kept_index.empty();
    const TensorEntry* codes = reader_.FindTensor(module.scheme->codes);
    const TensorEntry* scales = reader_.FindTensor(module.scheme->scales);
    const std::string prefix =
        module.source_tensor.substr(0, module.source_tensor.size() - kWeightEnd.size()) + ".";
    const uint64_t out_features = module.out_features;
    plan_.int8_modules.push_back(module.name);
    Put({.spec = {module.source_tensor, DType::kI8, Shape{out_features, module.in_features}},
         .content = Content::kCodes,
         .entry = codes,
         .module = &module});
    if (options_.format == ExportFormat::kCompressedTensors) {
      Put({.spec = {prefix + "weight_scale", StepsDType(*module.scheme), Shape{out_features, 1}},
           .content = Content::kSteps,
           .entry = scales,
           .module = &module});
      return;
    }
    Put({.spec = {prefix + "SCB", DType::kF32, Shape{out_features}},
         .content = Content::kStored,
         .entry = scales});
    Put({.spec = {prefix + "weight_format", DType::kU8, Shape{}}, .content = Content::kRowFormat});
  }

  // Names that two modules share are written once.
  void Put(ExportTensor tensor) {
    if (!names_.insert(tensor.spec.name).second) return;
    bundle_.push_back(std::move(tensor));
  }

  // The tensors of a module go to one file.
  void EndBundle() {
    uint64_t bytes = 0;
    for (const ExportTensor& tensor : bundle_) bytes += tensor.bytes();
    const bool fits =
        options_.max_shard_bytes == 0 || shard_bytes_ == 0 ||
        bytes <= options_.max_shard_bytes - std::min(options_.max_shard_bytes, shard_bytes_);
    if (!fits) {
      ++plan_.num_shards;
      shard_bytes_ = 0;
    }
    shard_bytes_ += bytes;
    for (ExportTensor& tensor : bundle_) {
      tensor.shard = plan_.num_shards - 1;
      plan_.tensors.push_back(std::move(tensor));
    }
    bundle_.clear();
  }

  void Warn() {
    for (const auto& [reason, count] : reasons_) {
      plan_.warnings.push_back(std::to_string(count) +
                               (count == 1 ? " module is" : " modules are") +
                               " written in 16 bit: " + reason);
    }
    if (has_lost_columns_) {
      plan_.warnings.push_back(
          "the exact weights of kept columns are left out: the format has only codes for them");
    }
    if (options_.format == ExportFormat::kCompressedTensors) {
      plan_.warnings.push_back(
          "readers of compressed-tensors multiply outliers in int8, too: expect larger errors than "
          "with LLM.int8()");
    }
  }

  // Tensors of larger elements first: so all of them are aligned, though there are no gaps.
  void Arrange() {
    std::ranges::stable_sort(plan_.tensors, [](const ExportTensor& a, const ExportTensor& b) {
      if (a.shard != b.shard) return a.shard < b.shard;
      return DTypeBytes(a.spec.dtype) > DTypeBytes(b.spec.dtype);
    });
    uint32_t position = 0;
    for (size_t i = 0; i < plan_.tensors.size(); ++i) {
      if (i > 0 && plan_.tensors[i].shard != plan_.tensors[i - 1].shard) position = 0;
      plan_.tensors[i].position = position++;
    }
  }

  const Reader& reader_;
  const ExportOptions& options_;
  const DType weights_dtype_;
  const ArchitectureFacts* facts_;  // null: not known
  ExportPlan plan_;
  std::vector<ExportTensor> bundle_;
  std::unordered_set<std::string> names_;
  uint64_t shard_bytes_ = 0;
  bool has_lost_columns_ = false;            // kept columns that the format has no place for
  std::map<std::string, uint64_t> reasons_;  // why modules are not int8, and how many
};

}  // namespace

std::string_view Name(ExportFormat value) {
  switch (value) {
    case ExportFormat::kSafetensors:
      return "safetensors";
    case ExportFormat::kTransformers:
      return "transformers";
    case ExportFormat::kBitsandbytes:
      return "bitsandbytes";
    case ExportFormat::kCompressedTensors:
      return "compressed-tensors";
  }
  return "";
}

uint64_t ExportPlan::bytes() const {
  uint64_t sum = 0;
  for (const ExportTensor& tensor : tensors) sum += tensor.bytes();
  return sum;
}

std::string ShardFileName(const ExportPlan& plan, uint32_t shard) {
  if (plan.num_shards == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05u-of-%05u.safetensors", shard + 1, plan.num_shards);
  return name;
}

Result<ExportPlan> PlanExport(const Reader& reader, const ExportOptions& options,
                              DType weights_dtype) {
  return Planner(reader, options, weights_dtype).Run();
}

}  // namespace octavo::quant
