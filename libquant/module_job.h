// One module of the output: which source tensors it takes, and which tensors come out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libquant/quantize_rows.h"
#include "libquant/weight_rows.h"
#include "octavo/checkpoint.h"
#include "octavo/manifest.h"
#include "octavo/policy.h"

namespace octavo::quant {

// A tensor of the output before it has a place.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kU8;
  Shape shape;
  uint64_t matrix_rows = 0;
  uint64_t chunk_rows = 0;  // 0: the writer's choice

  uint64_t bytes() const { return *shape.NumElements() * DTypeBytes(dtype); }
};

struct ModuleJob {
  format::Module module;  // as the manifest says it; `error` comes with the conversion
  std::vector<const format::SourceTensor*> tensors;  // stored ones, in the source's order
  WeightInfo weight;                                 // of a quantized module; else tensor is null
  std::vector<int32_t> kept_index;
  // A weight that is fp8 in the source and not quantized is stored as BF16.
  WeightInfo widened;               // tensor: null, or that weight
  std::vector<MatrixRange> ranges;  // one for each expert, where the method needs them

  // In the manifest: jobs of tied modules stand behind those of what they are tied to.
  size_t module_idx = 0;
  // Bytes of the tensors that must share a shard, from this job on; nothing: they go on from the
  // job before.
  std::optional<uint64_t> bundle_bytes;

  bool is_quantized() const { return weight.tensor != nullptr; }
};

// What the manifest will say of a decision. `has_kept`: the module has kept columns.
format::Module MakeModule(const Decision& decision, const format::Checkpoint& source,
                          const format::Quantization& quantization, format::CodeLayout layout,
                          bool has_kept);

// The job behind a module of a manifest. Errors: kInvalidArgument, if the source lacks a tensor
// that the module takes from it, or has it in another shape or type.
Result<ModuleJob> MakeJob(const format::Module& module, const format::Checkpoint& source);

// Whether the module's codes can have its layout. Errors: kLimit.
Status CheckLayout(const format::Module& module);

// ---- What a job stores
// --------------------------------------------------------------------------------------------
// Requires of the first two: module.scheme.
// Output features in each chunk of codes: about 1 MiB, whole rows, whole groups of 16 in a packed
// layout.
uint64_t CodeChunkRows(const format::Module& module);
TensorSpec CodesSpec(const format::Module& module);
TensorSpec CopySpec(const ModuleJob& job, const format::SourceTensor& tensor);
// scales, code_sum, and where they exist zero_point, kept_index and kept_weight, in the order of
// the file. `kept_type` of an fp32 source is known only once the values are.
std::vector<TensorSpec> SmallSpecs(const ModuleJob& job, DType kept_type = DType::kF16);
// Bytes of all tensors of the job.
uint64_t JobBytes(const ModuleJob& job);

}  // namespace octavo::quant
