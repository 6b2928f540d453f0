// Everything that is settled before the first weight is quantized.
#pragma once

#include <vector>

#include "libquant/module_job.h"
#include "octavo/convert.h"

namespace octavo::quant {

// The policy for a source, heads that are stored although tied compared with their embedding.
Result<Policy> DecidePolicy(const format::Checkpoint& source, const ConvertOptions& options);

// The values that options resolve to for this source: an int8 one of bitsandbytes brings its own
// threshold. Errors: kInvalidArgument (also: kept columns, or another method, for codes that are
// taken over).
Result<format::Quantization> ResolveFor(const Policy& policy, const ConvertOptions& options);

// The jobs of a policy in the order of the file, kept columns chosen.
Result<std::vector<ModuleJob>> MakeJobs(const format::Checkpoint& source, const Policy& policy,
                                        const format::Quantization& quantization,
                                        const ConvertOptions& options,
                                        std::vector<std::string>* warnings);

// Whether two tensors of the source are of one type and shape and equal, byte for byte. Errors:
// kNotFound, kIo.
Result<bool> HaveEqualBytes(const format::Checkpoint& source, const std::string& name_a,
                            const std::string& name_b);

// All tensors that a job stores, in the order of the file.
std::vector<TensorSpec> AllSpecs(const ModuleJob& job);

// Bytes that the jobs read: all of them, and those of the weights to quantize.
uint64_t StoredBytes(const std::vector<ModuleJob>& jobs);
uint64_t QuantizedBytes(const std::vector<ModuleJob>& jobs);
// Bytes of all tensors of the source.
uint64_t SourceBytes(const format::Checkpoint& source);
// Bytes of the output without compression: exact but for the manifest, which is estimated.
Result<uint64_t> EstimateFileBytes(const format::Checkpoint& source,
                                   const std::vector<ModuleJob>& jobs);

}  // namespace octavo::quant
