// What a conversion's bytes depend on, as text: two runs that are to fit together must agree on it.
#pragma once

#include <string>
#include <vector>

#include "libquant/module_job.h"
#include "octavo/convert.h"

namespace octavo::quant {

// Lines "key<tab>value\n" about this version of Octavo, the source's files (name, size, time of
// modification), the options, and what they come to: the tensors that will be stored. `jobs`: as
// planned, before any weight is read.
std::string Fingerprint(const format::Checkpoint& source, const ConvertOptions& options,
                        const format::Quantization& quantization,
                        const std::vector<ModuleJob>& jobs);

}  // namespace octavo::quant
