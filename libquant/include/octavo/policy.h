// Which tensors of a model are quantized, and why. Pure functions over names, shapes and config.json: no weights are
// read. docs/architectures.md and `octavo convert --explain` show the same reasons.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/checkpoint.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo::quant {

// What is known about a family of model types. Entries match whole dotted components of a module's name, "*" one
// component of any content; so "attn.c_attn" is the last two components, anywhere.
struct ArchitectureFacts {
  std::string_view name;                          // "GPT-2", for reports
  std::span<const std::string_view> model_types;  // of config.json
  std::span<const std::string_view> linears = {};     // of the blocks: quantized
  std::span<const std::string_view> transposed = {};  // linears kept as [in_features, out_features] (Conv1D)
  std::span<const std::string_view> heads = {};       // output heads: stay in 16 bit
  std::span<const std::string_view> keep = {};        // linears that must stay in 16 bit, each with a reason below
  std::string_view keep_reason = {};
  std::string_view tied_head = {};                // module that has no tensor of its own when embeddings are tied
  std::string_view tied_to = {};                  // … and the module whose weight it uses
  bool tied_by_default = false;                   // if config.json does not say tie_word_embeddings
  std::span<const std::string_view> experts = {};     // 3-D expert tensors, by the tensor's own last components
  bool experts_transposed = false;                // [experts, in_features, out_features]
  std::string_view notes = {};                    // what else docs/architectures.md says, a sentence or two
};

// All families, in the order of docs/architectures.md. The facts live as long as the process.
std::span<const ArchitectureFacts> KnownArchitectures();
// Null for an unknown or empty model_type: the general rules decide.
const ArchitectureFacts* FindArchitecture(std::string_view model_type);

// config.json, as far as conversion needs it.
struct ModelConfig {
  std::string model_type;            // empty without config.json
  std::string architecture;          // first of "architectures"
  std::optional<bool> tie_word_embeddings;
  std::string quant_method;          // of "quantization_config": not empty if the source is already quantized
};
// Errors: kInvalidFile. An empty text gives an empty config.
Result<ModelConfig> ParseModelConfig(std::string_view config_json);

enum class Action : int32_t {
  kQuantize = 0,
  kKeep = 1,  // stored as it is
  kTie = 2,   // no payload of its own: another module's tensor serves
};

// One module of the model and what becomes of it.
struct Decision {
  std::string module;
  format::ModuleKind kind = format::ModuleKind::kOther;
  Action action = Action::kKeep;
  std::string reason;                 // one clause, for people: "linear of a transformer block"
  bool transposed = false;
  uint64_t in_features = 0;
  uint64_t out_features = 0;
  uint64_t experts = 0;
  std::string weight;                 // source tensors; empty where there is none
  std::string bias;
  std::vector<std::string> tensors;   // further ones
  std::string tied_to;                // kTie: a module
};

struct PolicyOptions {
  // Modules to keep in 16 bit: patterns over whole dotted components, "*" for any one component. A pattern matches a
  // module if it equals a run of components that starts anywhere and ends at the module's own name or above it:
  // "lm_head", "h.0", "layers.*.mlp" all match everything below them; "c_attn" never matches "my_c_attn".
  std::vector<std::string> skip_modules = {};
  bool only_skip = false;  // skip_modules replaces the default list (heads and what architectures keep) instead of adding to it
};

struct Policy {
  const ArchitectureFacts* architecture = nullptr;  // null: the general rules
  std::vector<Decision> decisions;                  // in the order of the modules' first tensors
  std::vector<std::string> warnings;                // a pattern that matched nothing, an unknown model type, …
};

// Errors: kInvalidArgument (a malformed pattern), kRefused (already quantized source that this version does not take).
Result<Policy> DecideModules(std::span<const format::SourceTensor> tensors, const ModelConfig& config,
                             const PolicyOptions& options);

// Whether `pattern` matches the module, by the rule at skip_modules.
bool MatchesModule(std::string_view pattern, std::string_view module);

}  // namespace octavo::quant
