// The JSON that `--json` prints: a stable interface, documented in docs/cli.md. Keys are only ever
// added.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "octavo/manifest.h"
#include "octavo/policy.h"
#include "tools/model_facts.h"
#include "tools/module_groups.h"

namespace octavo::tools {

using Json = nlohmann::ordered_json;

Json SourceJson(const format::Source& source);
Json QuantizationJson(const format::Quantization& quantization);
// `bytes`: of its tensors in the file.
Json ModuleJson(const format::Module& module, uint64_t kept_columns, uint64_t bytes);
Json ModulesJson(const format::Manifest& manifest, const ModelFacts& facts);
Json DecisionJson(const quant::Decision& decision, uint64_t bytes);
Json GroupsJson(std::span<const ModuleGroup> groups);
Json TensorJson(const format::TensorEntry& tensor);
Json SummaryJson(const ModelFacts& facts, uint64_t bytes_file);

// Indented text with a newline at the end; broken UTF-8 in names becomes U+FFFD.
std::string ToText(const Json& json);

}  // namespace octavo::tools
