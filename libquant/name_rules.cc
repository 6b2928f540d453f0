#include "libquant/name_rules.h"

#include <algorithm>
#include <string>

#include "octavo/policy.h"

namespace octavo::quant {
namespace {

using format::ModuleKind;
using Where = NameRule::Where;

constexpr std::string_view kHeadReason = "output head: errors here reach the logits directly";
constexpr std::string_view kEmbeddingReason = "embedding: looked up, not multiplied";
constexpr std::string_view kNormReason = "normalization";
constexpr std::string_view kRouterReason = "router or gate: chooses experts, tiny and sensitive";
constexpr std::string_view kPositionReason = "position or relative bias: added, not multiplied";
constexpr std::string_view kConvolutionReason = "convolution";

// The order matters: embed_out is a head, relative_attention_bias no embedding of tokens.
constexpr NameRule kGeneralRules[] = {
    {Where::kEnd, "lm_head", ModuleKind::kHead, kHeadReason},
    {Where::kEnd, "embed_out", ModuleKind::kHead, kHeadReason},
    {Where::kEnd, "score", ModuleKind::kHead, kHeadReason},
    {Where::kEnd, "classifier", ModuleKind::kHead, kHeadReason},
    {Where::kEnd, "qa_outputs", ModuleKind::kHead, kHeadReason},
    {Where::kEnd, "predictions.decoder", ModuleKind::kHead, kHeadReason},
    {Where::kEnd, "seq_relationship", ModuleKind::kHead, kHeadReason},
    {Where::kWhole, "output", ModuleKind::kHead, kHeadReason},
    {Where::kWhole, "proj_out", ModuleKind::kHead, kHeadReason},
    {Where::kWhole, "head", ModuleKind::kHead, kHeadReason},
    {Where::kEnd, "wpe", ModuleKind::kPosition, kPositionReason},
    {Where::kContains, "relative_attention_bias", ModuleKind::kPosition, kPositionReason},
    {Where::kComponent, "relative_attention_bias_layer", ModuleKind::kPosition, kPositionReason},
    {Where::kContains, "rel_pos", ModuleKind::kPosition, kPositionReason},
    {Where::kContains, "position", ModuleKind::kPosition, kPositionReason},
    {Where::kContains, "pos_emb", ModuleKind::kPosition, kPositionReason},
    {Where::kContains, "norm", ModuleKind::kNorm, kNormReason},
    {Where::kStarts, "ln_", ModuleKind::kNorm, kNormReason},
    {Where::kEnd, "ln", ModuleKind::kNorm, kNormReason},
    {Where::kEnd, "wte", ModuleKind::kEmbedding, kEmbeddingReason},
    {Where::kContains, "embed", ModuleKind::kEmbedding, kEmbeddingReason},
    {Where::kContains, "_emb", ModuleKind::kEmbedding, kEmbeddingReason},
    {Where::kContains, "_token", ModuleKind::kEmbedding, kEmbeddingReason},
    {Where::kContains, "codebook", ModuleKind::kEmbedding, kEmbeddingReason},
    {Where::kEnd, "shared", ModuleKind::kEmbedding, kEmbeddingReason},
    {Where::kEnd, "gate", ModuleKind::kRouter, kRouterReason},
    {Where::kComponent, "router", ModuleKind::kRouter, kRouterReason},
    {Where::kEnd, "gate_inp", ModuleKind::kRouter, kRouterReason},
    {Where::kEnd, "shared_expert_gate", ModuleKind::kRouter, kRouterReason},
    {Where::kContains, "conv", ModuleKind::kConvolution, kConvolutionReason},
};

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

// "embed_tokens.3", one of a list of embeddings, is what "embed_tokens" is.
std::string_view WithoutTrailingNumbers(std::string_view module) {
  for (;;) {
    const size_t dot = module.rfind('.');
    if (dot == std::string_view::npos || dot + 1 == module.size()) return module;
    if (module.find_first_not_of("0123456789", dot + 1) != std::string_view::npos) return module;
    module = module.substr(0, dot);
  }
}

bool Fits(const NameRule& rule, std::string_view module, const std::string& last_lower) {
  switch (rule.where) {
    case Where::kEnd:
      return EndsWithComponents(rule.text, module);
    case Where::kWhole:
      return module == rule.text;
    case Where::kContains:
      return last_lower.find(rule.text) != std::string::npos;
    case Where::kComponent:
      return MatchesModule(rule.text, module);
    case Where::kStarts:
      return last_lower.starts_with(rule.text);
  }
  return false;
}

}  // namespace

std::vector<std::string_view> SplitComponents(std::string_view name) {
  std::vector<std::string_view> components;
  for (size_t begin = 0;;) {
    const size_t dot = name.find('.', begin);
    components.push_back(name.substr(begin, dot - begin));
    if (dot == std::string_view::npos) return components;
    begin = dot + 1;
  }
}

bool EndsWithComponents(std::string_view pattern, std::string_view name) {
  // From the back, so that no list of components is needed.
  for (;;) {
    const size_t pattern_dot = pattern.rfind('.');
    const size_t name_dot = name.rfind('.');
    const std::string_view want = pattern.substr(pattern_dot + 1);  // npos + 1 is 0
    if (want != "*" && want != name.substr(name_dot + 1)) return false;
    if (pattern_dot == std::string_view::npos) return true;
    if (name_dot == std::string_view::npos) return false;
    pattern = pattern.substr(0, pattern_dot);
    name = name.substr(0, name_dot);
  }
}

const std::string_view* FindEnding(std::span<const std::string_view> patterns,
                                   std::string_view name) {
  for (const std::string_view& pattern : patterns) {
    if (EndsWithComponents(pattern, name)) return &pattern;
  }
  return nullptr;
}

std::span<const NameRule> GeneralRules() { return kGeneralRules; }

const NameRule* FindGeneralRule(std::string_view module) {
  module = WithoutTrailingNumbers(module);
  const std::string last_lower = LowerCase(module.substr(module.rfind('.') + 1));
  for (const NameRule& rule : kGeneralRules) {
    if (Fits(rule, module, last_lower)) return &rule;
  }
  return nullptr;
}

}  // namespace octavo::quant
