#include "octavo/policy.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "libquant/name_rules.h"
#include "libquant/skip_patterns.h"
#include "libquant/source_form.h"
#include "libquant/source_modules.h"
#include "libquant/tied_head.h"
#include "octavo/kernels.h"

namespace octavo::quant {
namespace {

constexpr std::string_view kTransposedReason =
    "stored as [in_features, out_features], and the model type is not in the table of "
    "architectures";

using format::ModuleKind;
using format::SourceTensor;

// A verdict on one module while it is being reached.
struct Verdict {
  ModuleKind kind = ModuleKind::kOther;
  Action action = Action::kKeep;
  std::string reason;
};

Verdict Keep(ModuleKind kind, std::string_view reason) {
  return {kind, Action::kKeep, std::string(reason)};
}

// Modules without a weight of two dimensions or more: norms, buffers, loose parameters.
Verdict JudgeSmall(const SourceModule& group, const NameRule* rule) {
  if (group.weight == nullptr) {
    const bool all_constant = std::ranges::all_of(group.others, [](const SourceTensor* tensor) {
      const std::string_view last =
          std::string_view(tensor->name).substr(tensor->name.rfind('.') + 1);
      return !IsQuantizable(tensor->dtype) || last == "inv_freq" || last == "masked_bias" ||
             (last == "bias" && tensor->shape.rank() == 4);
    });
    if (all_constant) return Keep(ModuleKind::kBuffer, "buffer: a constant of the model's code");
    if (rule != nullptr && rule->kind == ModuleKind::kNorm) return Keep(rule->kind, rule->reason);
    return Keep(ModuleKind::kOther, "parameters without a weight matrix");
  }
  if (rule != nullptr) return Keep(rule->kind, rule->reason);
  return Keep(ModuleKind::kOther, "one-dimensional: nothing to multiply");
}

bool IsKnownExperts(const std::string& module, const ArchitectureFacts* facts) {
  return facts != nullptr && FindEnding(facts->experts, module) != nullptr;
}

Verdict JudgeExperts(const std::string& module, const ArchitectureFacts* facts) {
  if (IsKnownExperts(module, facts)) {
    return {ModuleKind::kExperts, Action::kQuantize,
            "expert linears of " + std::string(facts->name)};
  }
  return Keep(ModuleKind::kExperts,
              "expert tensor of a model type whose orientation is not in the table");
}

Verdict JudgeMatrix(const std::string& module, const ArchitectureFacts* facts, const NameRule* rule,
                    bool only_skip) {
  const bool keeps_defaults = !only_skip;
  if (facts != nullptr) {
    if (keeps_defaults && FindEnding(facts->heads, module) != nullptr) {
      return Keep(ModuleKind::kHead, "output head: errors here reach the logits directly");
    }
    const auto kept = std::ranges::find_if(facts->keep, [&module](const KeptLinear& linear) {
      return MatchesModule(linear.pattern, module);
    });
    if (keeps_defaults && kept != facts->keep.end()) {
      return Keep(ModuleKind::kLinear, kept->reason);
    }
    if (FindEnding(facts->linears, module) != nullptr) {
      return {ModuleKind::kLinear, Action::kQuantize,
              "linear of a " + std::string(facts->name) + " block"};
    }
  }
  if (rule != nullptr && (rule->kind != ModuleKind::kHead || keeps_defaults)) {
    return Keep(rule->kind, rule->reason);
  }
  if (rule != nullptr) return {rule->kind, Action::kQuantize, "output head, by request"};
  return {ModuleKind::kLinear, Action::kQuantize, "linear, by the general rules"};
}

Verdict Judge(const SourceModule& group, const ArchitectureFacts* facts, WeightForm form,
              bool only_skip) {
  const NameRule* rule = FindGeneralRule(group.module);
  const SourceTensor* weight = group.weight;
  if (weight == nullptr || weight->shape.rank() < 2) return JudgeSmall(group, rule);
  const bool is_stack = weight->shape.rank() == 3 && IsQuantizable(weight->dtype);
  if (group.is_experts || (is_stack && IsKnownExperts(group.module, facts))) {
    return JudgeExperts(group.module, facts);
  }
  if (weight->shape.rank() > 2) {
    if (rule != nullptr) return Keep(rule->kind, rule->reason);
    if (weight->shape.rank() > 3) {
      return Keep(ModuleKind::kConvolution, "convolution: a weight of more than two dimensions");
    }
    return Keep(ModuleKind::kOther, "three-dimensional weight of unknown meaning");
  }
  Verdict verdict = JudgeMatrix(group.module, facts, rule, only_skip);
  if (verdict.action == Action::kQuantize && form == WeightForm::kFloat &&
      !IsQuantizable(weight->dtype)) {
    verdict.action = Action::kKeep;
    verdict.reason =
        "its type " + std::string(DTypeName(weight->dtype)) + " is not F16, BF16 or F32";
  }
  return verdict;
}

bool IsMultiplied(ModuleKind kind) {
  return kind == ModuleKind::kLinear || kind == ModuleKind::kHead || kind == ModuleKind::kRouter ||
         kind == ModuleKind::kExperts;
}

// in_features, out_features, experts and the orientation, where the module multiplies.
void SetFeatures(const SourceTensor& weight, const ArchitectureFacts* facts, Decision* decision) {
  const Shape& shape = weight.shape;
  if (!IsMultiplied(decision->kind)) return;
  if (decision->kind == ModuleKind::kExperts) {
    if (!IsKnownExperts(decision->module, facts)) return;
    decision->experts = shape[0];
    decision->transposed = facts->experts_transposed;
  } else {
    if (shape.rank() != 2) return;
    decision->transposed =
        facts != nullptr && FindEnding(facts->transposed, decision->module) != nullptr;
  }
  const int rank = shape.rank();
  decision->in_features = shape[decision->transposed ? rank - 2 : rank - 1];
  decision->out_features = shape[decision->transposed ? rank - 1 : rank - 2];
}

// A linear's bias is [out_features]; of experts [experts, out_features].
bool BiasFits(const SourceTensor& bias, const Decision& decision) {
  const Shape expected = decision.kind == ModuleKind::kExperts
                             ? Shape{decision.experts, decision.out_features}
                             : Shape{decision.out_features};
  return bias.shape == expected;
}

// More features than the format allows: stored, but not described as a linear.
void LimitFeatures(Decision* decision) {
  if (std::max(decision->in_features, decision->out_features) <= kernels::kMaxInFeatures) return;
  decision->in_features = decision->out_features = decision->experts = 0;
  decision->action = Action::kKeep;
  decision->reason = "more than 2^23 features";
}

// Only [in_features, out_features] fits the bias: what a Conv1D of a family outside the table looks
// like. It is kept, because a square sibling of it could not be told from an ordinary linear.
bool LooksTransposed(const SourceTensor& bias, const Decision& decision) {
  return decision.kind == ModuleKind::kLinear && !decision.transposed &&
         bias.shape == Shape{decision.in_features};
}

void KeepAsTransposed(Decision* decision) {
  std::swap(decision->in_features, decision->out_features);
  decision->transposed = true;
  decision->action = Action::kKeep;
  decision->reason = std::string(kTransposedReason);
}

void AssignTensors(const SourceModule& group, bool is_known_type, const FindTensor& find,
                   Decision* decision, std::vector<std::string>* warnings) {
  const std::string bias_name = group.module + (group.is_experts ? "_bias" : ".bias");
  const bool is_linear = decision->out_features > 0;
  if (group.weight != nullptr) decision->weight = group.weight->name;
  for (const SourceTensor* tensor : group.others) {
    if (IsCompanion(*tensor, find)) continue;
    const bool is_bias = tensor->name == bias_name && group.weight != nullptr;
    const bool is_wanted = decision->action == Action::kQuantize;
    if (is_bias && is_wanted && !is_known_type && !BiasFits(*tensor, *decision) &&
        LooksTransposed(*tensor, *decision)) {
      KeepAsTransposed(decision);
    }
    if (is_bias && (!is_linear || BiasFits(*tensor, *decision))) {
      decision->bias = tensor->name;
      continue;
    }
    decision->tensors.push_back(tensor->name);
    if (is_bias && decision->action == Action::kQuantize) {
      decision->action = Action::kKeep;
      decision->reason = "its bias has shape " + tensor->shape.ToString() +
                         ", not one value for each of " + std::to_string(decision->out_features) +
                         " outputs";
      warnings->push_back("module \"" + group.module + "\" stays in 16 bit: " + decision->reason);
    }
  }
}

void KeepEmpty(Decision* decision) {
  const bool has_rows = decision->kind != ModuleKind::kExperts || decision->experts > 0;
  if (decision->in_features > 0 && decision->out_features > 0 && has_rows) return;
  if (decision->action != Action::kQuantize) return;
  decision->action = Action::kKeep;
  decision->reason = "it has no elements";
}

// A weight that is int8 in the source stays it, whatever the module is.
Verdict JudgeCodes(const SourceModule& group, const ArchitectureFacts* facts) {
  const bool is_head = facts != nullptr && FindEnding(facts->heads, group.module) != nullptr;
  return {is_head ? ModuleKind::kHead : ModuleKind::kLinear, Action::kQuantize,
          "int8 in the source: codes and scales are taken over"};
}

Decision Decide(const SourceModule& group, const ArchitectureFacts* facts, const FindTensor& find,
                const PolicyOptions& options, std::vector<std::string>* warnings) {
  WeightScales scales;  // those that there are were checked
  if (group.weight != nullptr) scales = FindScales(*group.weight, find).value();
  const bool is_taken_over = scales.form == WeightForm::kCodes;
  Verdict verdict = is_taken_over ? JudgeCodes(group, facts)
                                  : Judge(group, facts, scales.form, options.only_skip);
  Decision decision;
  decision.is_taken_over = is_taken_over;
  decision.convention = scales.convention;
  decision.module = group.module;
  decision.kind = verdict.kind;
  decision.action = verdict.action;
  decision.reason = std::move(verdict.reason);
  // Linears of other programs' int8 and fp8 are [out_features, in_features], Conv1D too.
  if (group.weight != nullptr)
    SetFeatures(*group.weight, scales.form == WeightForm::kFloat ? facts : nullptr, &decision);
  KeepEmpty(&decision);
  LimitFeatures(&decision);
  AssignTensors(group, facts != nullptr, find, &decision, warnings);
  return decision;
}

// A model with weights that look like a Conv1D's: what does not show its orientation by a bias may
// be one too.
void KeepDoubtfulOrientations(Policy* policy) {
  const auto looks_transposed = [](const Decision& d) { return d.reason == kTransposedReason; };
  const auto count = std::ranges::count_if(policy->decisions, looks_transposed);
  if (count == 0) return;
  size_t doubtful = 0;
  for (Decision& decision : policy->decisions) {
    const bool shows_it = !decision.bias.empty() && decision.in_features != decision.out_features;
    if (decision.action != Action::kQuantize || decision.transposed || shows_it) continue;
    decision.action = Action::kKeep;
    decision.reason =
        "its orientation is not known: other weights of this model are stored as [in_features, "
        "out_features]";
    ++doubtful;
  }
  policy->warnings.push_back(
      std::to_string(count) + " modules are stored as [in_features, out_features], and " +
      std::to_string(doubtful) +
      " more may be: they stay in 16 bit, because the model type is not in the table of "
      "architectures");
}

// Who made the int8 source chose what to leave in 16 bit.
void KeepFloats(Policy* policy) {
  for (Decision& decision : policy->decisions) {
    if (decision.is_taken_over || decision.action != Action::kQuantize) continue;
    decision.action = Action::kKeep;
    decision.reason = "not int8 in the source, of which other weights are";
  }
}

// Their exact weights are not known any more.
Status CheckNoneIsGivenUp(const Policy& policy) {
  for (const Decision& decision : policy.decisions) {
    if (!decision.is_taken_over || decision.action == Action::kQuantize) continue;
    return Status(ErrorCode::kInvalidArgument,
                  "module \"" + decision.module +
                      "\" cannot stay in 16 bit: it is int8 in the source (" + decision.reason +
                      ")");
  }
  return {};
}

void WarnOfUnknownType(const ModelConfig& config, Policy* policy) {
  if (policy->architecture != nullptr) return;
  policy->warnings.push_back(
      config.model_type.empty()
          ? "no model type (config.json is missing or names none): the general rules decided"
          : "model type \"" + config.model_type +
                "\" is not in the table of architectures: the general rules decided");
}

void WarnThatNoneIsQuantized(Policy* policy) {
  const auto linear = std::ranges::find_if(
      policy->decisions, [](const Decision& d) { return d.kind == format::ModuleKind::kLinear; });
  policy->warnings.push_back(linear == policy->decisions.end()
                                 ? "no module is quantized: there is no linear"
                                 : "no module is quantized; " + linear->module + ": " +
                                       linear->reason);
}

}  // namespace

Result<Policy> DecideModules(std::span<const SourceTensor> tensors, const ModelConfig& config,
                             const PolicyOptions& options) {
  for (const std::string& pattern : options.skip_modules) {
    OCTAVO_RETURN_IF_ERROR(CheckPattern(pattern));
  }
  std::unordered_map<std::string_view, const SourceTensor*> by_name;
  by_name.reserve(tensors.size());
  for (const SourceTensor& tensor : tensors) by_name.emplace(tensor.name, &tensor);
  const FindTensor find = [&by_name](std::string_view name) {
    const auto it = by_name.find(name);
    return it == by_name.end() ? nullptr : it->second;
  };
  OCTAVO_RETURN_IF_ERROR(CheckQuantizedSource(tensors, config, find));
  Policy policy;
  policy.config = config;
  policy.architecture = FindArchitecture(config.model_type);
  WarnOfUnknownType(config, &policy);
  for (const SourceModule& group : GroupByModule(tensors)) {
    policy.decisions.push_back(Decide(group, policy.architecture, find, options, &policy.warnings));
  }
  if (std::ranges::any_of(policy.decisions, &Decision::is_taken_over)) KeepFloats(&policy);
  KeepDoubtfulOrientations(&policy);
  TieHead(tensors, config, &policy);
  ApplySkipPatterns(options.skip_modules, &policy);
  OCTAVO_RETURN_IF_ERROR(CheckNoneIsGivenUp(policy));
  if (std::ranges::none_of(policy.decisions,
                           [](const Decision& d) { return d.action == Action::kQuantize; })) {
    WarnThatNoneIsQuantized(&policy);
  }
  return policy;
}

}  // namespace octavo::quant
