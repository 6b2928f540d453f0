// The parts of a summary that `inspect` and `convert` both print.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "octavo/manifest.h"
#include "tools/model_facts.h"
#include "tools/module_groups.h"

namespace octavo::tools {

// "vector-wise int8, threshold 6, scope batch, …"
std::string DescribeQuantization(const format::Quantization& quantization);

// "gpt2 (GPT2LMHeadModel)", or that nothing is known.
std::string DescribeArchitecture(const format::Source& source);

// The lines "size" and "int8 weights": before and after.
std::string SizeLines(const ModelFacts& facts, uint64_t bytes_file);

enum class Detail {
  kGrouped,    // modules that differ only in numbers share a line
  kExplained,  // every module on its own line, as long as a person can read that; else shared lines
               // that say which numbers
  kEach,       // every module on its own line
};
// Two headed tables: the modules that are quantized, and the others, with reasons.
std::string ModuleTables(std::span<const ModuleLine> lines, Detail detail);

// The modules with the smallest signal-to-noise ratio, worst first, at most `count`.
std::vector<const format::Module*> WorstModules(const format::Manifest& manifest, size_t count);
// As a headed table; empty if none was measured.
std::string WorstModulesTable(const format::Manifest& manifest, size_t count);

}  // namespace octavo::tools
