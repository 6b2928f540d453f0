#include "libquant/module_job.h"

#include <algorithm>

namespace octavo::quant {
namespace {

using format::Checkpoint;
using format::CodeLayout;
using format::Module;
using format::ModuleKind;
using format::SourceTensor;

constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
constexpr uint64_t kPackedRows = 16;  // output features of a group in vnni16x4
constexpr uint64_t kPackedColumns = 64;

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

uint64_t ChunkRows(uint64_t row_bytes) {
  return std::max<uint64_t>(1, kChunkBytes / std::max<uint64_t>(1, row_bytes));
}

format::SchemeDescriptor MakeScheme(const Decision& decision,
                                    const format::Quantization& quantization, CodeLayout layout) {
  const bool is_zeropoint = IsZeropoint(quantization.method) && !decision.is_taken_over;
  const bool is_step = is_zeropoint || (decision.is_taken_over &&
                                        decision.convention == format::ScaleConvention::kStep);
  format::SchemeDescriptor scheme;
  scheme.codes = decision.weight;
  scheme.layout = decision.kind == ModuleKind::kExperts ? CodeLayout::kPlain : layout;
  scheme.full_range = is_zeropoint;
  scheme.scales = decision.weight + (is_step ? "_step" : "_absmax");
  scheme.convention = is_step ? format::ScaleConvention::kStep : format::ScaleConvention::kAbsmax;
  scheme.code_sum = decision.weight + "_code_sum";
  if (is_zeropoint) scheme.zero_point = decision.weight + "_zero_point";
  return scheme;
}

Shape WeightShape(const Module& module) {
  const uint64_t rows = module.transposed ? module.in_features : module.out_features;
  const uint64_t columns = module.transposed ? module.out_features : module.in_features;
  return module.kind == ModuleKind::kExperts ? Shape{module.experts, rows, columns}
                                             : Shape{rows, columns};
}

Status Differs(const Module& module, const std::string& what) {
  return Status(ErrorCode::kInvalidArgument, "module \"" + module.name + "\": " + what);
}

// The numbers of a weight, with the scales that the source has beside it.
Status SetForm(const Checkpoint& source, const SourceTensor& tensor, WeightInfo* weight) {
  OCTAVO_ASSIGN_OR_RETURN(weight->scales, FindScales(tensor, [&source](std::string_view name) {
                            return source.Find(name);
                          }));
  weight->tensor = &tensor;
  weight->type = weight->scales.form == WeightForm::kFloat ? ToElementType(tensor.dtype)
                                                           : kernels::ElementType::kFloat32;
  return {};
}

Status SetWeight(const Module& module, const Checkpoint& source, const SourceTensor& tensor,
                 WeightInfo* weight) {
  const bool is_code = tensor.dtype == DType::kI8 || tensor.dtype == DType::kF8E4M3;
  if (!(IsQuantizable(tensor.dtype) || is_code) || tensor.shape != WeightShape(module)) {
    return Differs(module, "the source's \"" + tensor.name + "\" is " +
                               std::string(DTypeName(tensor.dtype)) + " " +
                               tensor.shape.ToString() + ", not a weight of " +
                               WeightShape(module).ToString());
  }
  OCTAVO_RETURN_IF_ERROR(SetForm(source, tensor, weight));
  const bool is_taken_over = weight->scales.form == WeightForm::kCodes;
  if (is_taken_over && weight->scales.convention != module.scheme->convention) {
    return Differs(module, "the source's scales \"" + weight->scales.tensor->name +
                               "\" are of another convention");
  }
  weight->in_features = module.in_features;
  weight->out_features = module.out_features;
  weight->experts = module.kind == ModuleKind::kExperts ? module.experts : 1;
  weight->transposed = module.transposed;
  return {};
}

// [out_features], or [experts, out_features].
Shape ScaleShape(const ModuleJob& job) {
  const Module& module = job.module;
  return module.kind == ModuleKind::kExperts ? Shape{module.experts, module.out_features}
                                             : Shape{module.out_features};
}

}  // namespace

Module MakeModule(const Decision& decision, const Checkpoint& source,
                  const format::Quantization& quantization, CodeLayout layout, bool has_kept) {
  Module module;
  module.name = decision.module;
  module.kind = decision.kind;
  module.quantized = decision.action == Action::kQuantize;
  module.reason = decision.reason;
  module.in_features = decision.in_features;
  module.out_features = decision.out_features;
  module.experts = decision.experts;
  module.source_tensor = decision.weight;
  if (!decision.weight.empty()) module.source_dtype = source.Find(decision.weight)->dtype;
  module.transposed = decision.transposed;
  module.bias = decision.bias;
  module.tensors = decision.tensors;
  module.tied_to = decision.tied_to;
  if (!module.quantized) {
    module.weight = decision.weight;  // a tied module's is filled in by who knows the other one
    return module;
  }
  module.scheme = MakeScheme(decision, quantization, layout);
  if (decision.is_taken_over) {
    const FindTensor find = [&source](std::string_view name) { return source.Find(name); };
    const Result<WeightScales> scales = FindScales(*source.Find(decision.weight), find);
    module.scheme->scales_source_dtype = scales->tensor->dtype;  // the policy has checked them
  }
  if (has_kept) {
    module.kept_index = decision.weight + "_kept_index";
    module.kept_weight = decision.weight + "_kept";
  }
  return module;
}

Result<ModuleJob> MakeJob(const Module& module, const Checkpoint& source) {
  ModuleJob job;
  job.module = module;
  std::vector<std::string> names = module.tensors;
  if (!module.bias.empty()) names.push_back(module.bias);
  if (module.tied_to.empty() && !module.source_tensor.empty())
    names.push_back(module.source_tensor);
  for (const std::string& name : names) {
    const SourceTensor* tensor = source.Find(name);
    if (tensor == nullptr) return Differs(module, "the source has no tensor \"" + name + "\"");
    job.tensors.push_back(tensor);
  }
  std::ranges::sort(job.tensors, [](const SourceTensor* a, const SourceTensor* b) {
    return std::pair(a->file, a->offset) < std::pair(b->file, b->offset);
  });
  if (module.quantized) {
    const SourceTensor* tensor = source.Find(module.source_tensor);
    if (tensor == nullptr) return Differs(module, "it names no tensor of the source");
    OCTAVO_RETURN_IF_ERROR(SetWeight(module, source, *tensor, &job.weight));
    OCTAVO_RETURN_IF_ERROR(CheckLayout(module));
  } else if (const SourceTensor* tensor = source.Find(module.source_tensor);
             tensor != nullptr && tensor->dtype == DType::kF8E4M3 && module.tied_to.empty()) {
    OCTAVO_RETURN_IF_ERROR(SetForm(source, *tensor, &job.widened));
    job.widened.out_features = tensor->shape[0];
    job.widened.in_features = tensor->shape[1];
  }
  return job;
}

Status CheckLayout(const Module& module) {
  if (module.scheme->layout == CodeLayout::kPlain ||
      kPackedRows * module.in_features <= (uint64_t{64} << 20)) {
    return {};
  }
  return Status(ErrorCode::kLimit,
                "module \"" + module.name + "\": too many in_features for a packed layout");
}

uint64_t CodeChunkRows(const Module& module) {
  const uint64_t in_features = module.in_features;
  if (module.scheme->layout == CodeLayout::kPlain) return ChunkRows(in_features);
  return kPackedRows * ChunkRows(kPackedRows * RoundUp(in_features, kPackedColumns));
}

TensorSpec CodesSpec(const Module& module) {
  TensorSpec spec{.name = module.scheme->codes,
                  .dtype = DType::kI8,
                  .shape = {},
                  .matrix_rows = 0,
                  .chunk_rows = 0};
  spec.chunk_rows = CodeChunkRows(module);
  if (module.kind == ModuleKind::kExperts) {
    spec.shape = Shape{module.experts, module.out_features, module.in_features};
    spec.matrix_rows = module.out_features;
  } else if (module.scheme->layout == CodeLayout::kPlain) {
    spec.shape = Shape{module.out_features, module.in_features};
  } else {  // a row of this tensor is a group of four codes
    const uint64_t groups = RoundUp(module.in_features, kPackedColumns) / 4;
    spec.shape =
        Shape{RoundUp(module.out_features, kPackedRows) / kPackedRows, groups, kPackedRows, 4};
    spec.chunk_rows = spec.chunk_rows * groups;
  }
  return spec;
}

TensorSpec CopySpec(const ModuleJob& job, const SourceTensor& tensor) {
  TensorSpec spec{.name = tensor.name,
                  .dtype = tensor.dtype,
                  .shape = tensor.shape,
                  .matrix_rows = 0,
                  .chunk_rows = 0};
  if (&tensor == job.widened.tensor) spec.dtype = DType::kBF16;
  spec.chunk_rows = ChunkRows(tensor.shape.row_elements() * DTypeBytes(spec.dtype));
  return spec;
}

std::vector<TensorSpec> SmallSpecs(const ModuleJob& job, DType kept_type) {
  const Module& module = job.module;
  const Shape shape = ScaleShape(job);
  std::vector<TensorSpec> specs = {{module.scheme->scales, DType::kF32, shape},
                                   {module.scheme->code_sum, DType::kI32, shape}};
  if (!module.scheme->zero_point.empty())
    specs.push_back({module.scheme->zero_point, DType::kI32, shape});
  if (!module.kept_index.empty()) {
    const uint64_t kept = job.kept_index.size();
    specs.push_back({module.kept_index, DType::kI32, Shape{kept}});
    specs.push_back({module.kept_weight, kept_type, Shape{kept, module.out_features}});
  }
  return specs;
}

uint64_t JobBytes(const ModuleJob& job) {
  uint64_t bytes = 0;
  for (const SourceTensor* tensor : job.tensors) {
    bytes += tensor == job.weight.tensor ? CodesSpec(job.module).bytes()
                                         : CopySpec(job, *tensor).bytes();
  }
  if (job.is_quantized()) {
    for (const TensorSpec& spec : SmallSpecs(job)) bytes += spec.bytes();
  }
  return bytes;
}

}  // namespace octavo::quant
