// Which tensors of a model are quantized, and why. Pure functions over names, shapes and
// config.json: no weights are read. docs/architectures.md and `octavo convert --explain` show the
// same reasons.
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

// A linear that stays in 16 bit: what `pattern` names, and all below it (MatchesModule).
struct KeptLinear {
  std::string_view pattern;
  std::string_view reason;
};

// What is known about a family of model types. Entries match whole dotted components of a module's
// name, "*" one component of any content; so "attn.c_attn" is the last two components, anywhere.
struct ArchitectureFacts {
  std::string_view name;                          // "GPT-2", for reports
  std::span<const std::string_view> model_types;  // of config.json
  // Linears of the blocks: quantized.
  std::span<const std::string_view> linears = {};
  // Those of them that the source keeps as [in_features, out_features] (Conv1D).
  std::span<const std::string_view> transposed = {};
  // Output heads: stay in 16 bit.
  std::span<const std::string_view> heads = {};
  std::span<const KeptLinear> keep = {};
  // The module that has no tensor of its own when embeddings are tied, and the one whose weight it
  // uses; tied_by_default: if config.json does not say tie_word_embeddings.
  std::string_view tied_head = {};
  std::string_view tied_to = {};
  bool tied_by_default = false;
  // 3-D tensors of all experts, by the last components of the module's name, which is the tensor's
  // own without ".weight": [experts, out_features, in_features], or with experts_transposed
  // [experts, in_features, out_features].
  std::span<const std::string_view> experts = {};
  bool experts_transposed = false;
  // What else docs/architectures.md says, a sentence or two.
  std::string_view notes = {};
};

// All families, in the order of docs/architectures.md. The facts live as long as the process.
std::span<const ArchitectureFacts> KnownArchitectures();
// Null for an unknown or empty model_type: the general rules decide.
const ArchitectureFacts* FindArchitecture(std::string_view model_type);

// config.json, as far as conversion needs it.
struct ModelConfig {
  std::string model_type;    // empty without config.json
  std::string architecture;  // first of "architectures"
  std::optional<bool> tie_word_embeddings;
  std::string quant_method;  // of "quantization_config": not empty if the source is quantized
  std::optional<float> llm_int8_threshold;  // there, bitsandbytes'
  bool has_transforms = false;              // there, compressed-tensors' rotations
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
  std::string reason;  // one clause, for people: "linear of a Llama block"
  bool transposed = false;
  uint64_t in_features = 0;  // 0 and 0: not a linear
  uint64_t out_features = 0;
  uint64_t experts = 0;
  // Tensors of the source; empty where there is none.
  std::string weight;
  std::string bias;
  std::vector<std::string> tensors;  // further ones
  // The weight's codes and scales are int8 in the source, and are taken over as they are.
  bool is_taken_over = false;
  format::ScaleConvention convention = format::ScaleConvention::kAbsmax;
  // kTie: a module. With a `weight` of its own the two must still be compared, byte for byte.
  std::string tied_to;
};

struct PolicyOptions {
  // Modules to keep in 16 bit: patterns over whole dotted components, "*" for any one component. A
  // pattern matches a module if it equals a run of components that starts anywhere and ends at the
  // module's own name or above it: "lm_head", "h.0", "layers.*.mlp" all match everything below
  // them; "c_attn" never matches "my_c_attn".
  std::vector<std::string> skip_modules = {};
  // skip_modules replaces the default list (heads and what architectures keep) instead of adding
  // to it.
  bool only_skip = false;
};

struct Policy {
  ModelConfig config;                               // what it was decided by
  const ArchitectureFacts* architecture = nullptr;  // null: the general rules
  // In the order of the modules' first tensors; a tied head without tensors comes last.
  std::vector<Decision> decisions;
  // A pattern that matched nothing, an unknown model type, …
  std::vector<std::string> warnings;
};

// Errors: kInvalidArgument (a malformed pattern), kRefused (a source that is quantized already).
Result<Policy> DecideModules(std::span<const format::SourceTensor> tensors,
                             const ModelConfig& config, const PolicyOptions& options);

// Whether `pattern` matches the module, by the rule at skip_modules.
bool MatchesModule(std::string_view pattern, std::string_view module);

}  // namespace octavo::quant
