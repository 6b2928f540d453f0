// The parts of a summary that `inspect` and `convert` both print.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "octavo/manifest.h"
#include "tools/model_facts.h"
#include "tools/module_groups.h"

namespace octavo::tools {

// "vector-wise int8, threshold 6, scope batch, …"
std::string DescribeQuantization(const format::Quantization& quantization);

// "gpt2 (GPT2LMHeadModel)", or that nothing is known.
std::string DescribeArchitecture(const format::Source& source);

// The lines "size" and "weights": before and after.
std::string SizeLines(const ModelFacts& facts, uint64_t bytes_file);

// Two headed tables: the modules that are quantized, and the others, with reasons. Modules that
// differ only in numbers share a line, unless `each` asks for every one.
std::string ModuleTables(std::span<const ModuleLine> lines, bool each);

// The modules with the smallest signal-to-noise ratio, at most `count`; empty if none was measured.
std::string WorstModules(const format::Manifest& manifest, size_t count);

}  // namespace octavo::tools
