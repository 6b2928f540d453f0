// Sums over a manifest that its readers ask for first.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/manifest.h"
#include "octavo/reader.h"

namespace octavo::tools {

struct ModelFacts {
  uint64_t bytes_source = 0;  // of the source's weight files, as the manifest states them
  uint64_t quantized_modules = 0;
  uint64_t skipped_modules = 0;         // all others, tied ones included
  uint64_t bytes_quantized_source = 0;  // the quantized weights, as they were
  uint64_t bytes_quantized_file = 0;  // and what stands for them: codes, scales, sums, kept columns
  uint64_t kept_columns = 0;
  // For each module.
  std::vector<uint64_t> module_kept_columns;
  std::vector<uint64_t> module_bytes;  // of its tensors in the file; a tied weight is another's
};
// Tensors are looked up by `find`, null for an unknown name.
using FindTensor = std::function<const format::TensorEntry*(std::string_view name)>;
ModelFacts FactsOf(const format::Manifest& manifest, const FindTensor& find);
ModelFacts FactsOf(const format::Reader& reader);
ModelFacts FactsOf(const format::Manifest& manifest);

// Names of all tensors that a module uses, in the order of docs/format.md section 8.
std::vector<std::string> TensorsOf(const format::Module& module);

}  // namespace octavo::tools
