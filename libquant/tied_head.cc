#include "libquant/tied_head.h"

#include <algorithm>
#include <string>

#include "libquant/name_rules.h"

namespace octavo::quant {
namespace {

using format::ModuleKind;
using format::SourceTensor;

// Classes that have an output head over the vocabulary; "LlamaModel" and the like have none.
constexpr std::string_view kHeadClasses[] = {
    "LMHeadModel",    "DoubleHeadsModel",         "ForCausalLM", "ForMaskedLM",
    "ForPreTraining", "ForConditionalGeneration", "MTModel",
};

bool HasVocabularyHead(const std::string& architecture) {
  return architecture.empty() ||
         std::ranges::any_of(kHeadClasses, [&](auto end) { return architecture.ends_with(end); });
}

// The general rules' names, for model types outside the table.
constexpr std::string_view kEmbeddings[] = {"embed_tokens",   "wte",          "word_embeddings",
                                            "tok_embeddings", "tokens_embed", "embed_in",
                                            "shared"};

const SourceTensor* FindTensor(std::span<const SourceTensor> tensors, const std::string& name) {
  const auto it = std::ranges::find(tensors, name, &SourceTensor::name);
  return it == tensors.end() ? nullptr : &*it;
}

// The token embedding: the only module of that name with a weight; null if there is none or there
// are several.
const Decision* FindEmbedding(const Policy& policy) {
  const std::span<const std::string_view> names =
      policy.architecture != nullptr ? std::span(&policy.architecture->tied_to, 1)
                                     : std::span<const std::string_view>(kEmbeddings);
  const Decision* found = nullptr;
  for (const Decision& decision : policy.decisions) {
    if (decision.weight.empty() || FindEnding(names, decision.module) == nullptr) continue;
    if (found != nullptr) return nullptr;
    found = &decision;
  }
  return found;
}

Decision* FindHead(std::string_view head, Policy* policy) {
  for (Decision& decision : policy->decisions) {
    if (EndsWithComponents(head, decision.module)) return &decision;
  }
  return nullptr;
}

// "cls.predictions.decoder" can only be missing where there is a "cls.predictions" at all.
bool ParentExists(std::string_view head, const Policy& policy) {
  const size_t dot = head.rfind('.');
  if (dot == std::string_view::npos) return true;
  const std::string_view parent = head.substr(0, dot);
  return std::ranges::any_of(policy.decisions, [parent](const Decision& decision) {
    return MatchesModule(parent, decision.module);
  });
}

// In an unknown type's class with a head, a head without a tensor can only be a tied one.
bool MustBeTied(const ModelConfig& config, const Policy& policy) {
  return !config.architecture.empty() &&
         std::ranges::none_of(policy.decisions, [](const Decision& decision) {
           return decision.kind == ModuleKind::kHead && !decision.weight.empty();
         });
}

void Tie(const Decision& embedding, const SourceTensor& weight, Decision* head) {
  head->kind = ModuleKind::kHead;
  head->action = Action::kTie;
  head->reason = "output head tied to " + embedding.module;
  head->tied_to = embedding.module;
  head->transposed = false;
  head->in_features = weight.shape[1];
  head->out_features = weight.shape[0];
}

// A bias that was listed as a further tensor while the head had no features.
void AdoptBias(std::span<const SourceTensor> tensors, Decision* head) {
  const SourceTensor* bias = FindTensor(tensors, head->module + ".bias");
  if (bias == nullptr || bias->shape != Shape{head->out_features}) return;
  if (std::erase(head->tensors, bias->name) > 0) head->bias = bias->name;
}

}  // namespace

void TieHead(std::span<const SourceTensor> tensors, const ModelConfig& config, Policy* policy) {
  const ArchitectureFacts* facts = policy->architecture;
  const std::string_view head_name = facts != nullptr ? facts->tied_head : "lm_head";
  if (head_name.empty()) return;
  Decision* head = FindHead(head_name, policy);
  const bool has_weight = head != nullptr && !head->weight.empty();
  const bool wants_head =
      HasVocabularyHead(config.architecture) && ParentExists(head_name, *policy);
  const bool is_tied = config.tie_word_embeddings.value_or(
      facts != nullptr ? facts->tied_by_default : wants_head && MustBeTied(config, *policy));
  if (!is_tied) {
    if (facts != nullptr && !has_weight && wants_head && !config.architecture.empty()) {
      policy->warnings.push_back("no output head \"" + std::string(head_name) +
                                 "\" in the source, and config.json does not tie it");
    }
    return;
  }
  if (head == nullptr && !wants_head) return;

  const Decision* embedding = FindEmbedding(*policy);
  const SourceTensor* shared =
      embedding != nullptr ? FindTensor(tensors, embedding->weight) : nullptr;
  if (shared == nullptr || shared->shape.rank() != 2) {
    policy->warnings.push_back(
        "the output head is tied, but no single token embedding was found to tie it to");
    return;
  }
  if (has_weight) {
    const SourceTensor* own = FindTensor(tensors, head->weight);
    if (own->shape != shared->shape || own->dtype != shared->dtype) {
      policy->warnings.push_back(
          "\"" + head->weight + "\" differs from \"" + shared->name +
          "\" in shape or type although config.json ties them: kept as an own head");
      return;
    }
    Tie(*embedding, *shared, head);
  } else if (head != nullptr) {
    Tie(*embedding, *shared, head);
    AdoptBias(tensors, head);
  } else {
    Decision added;
    added.module = head_name;
    Tie(*embedding, *shared, &added);
    policy->decisions.push_back(std::move(added));
  }
}

}  // namespace octavo::quant
