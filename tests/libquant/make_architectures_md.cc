// Prints docs/architectures.md from the table of facts and the general rules. A test compares the
// page with it:
//   make_architectures_md > docs/architectures.md
#include <algorithm>
#include <iostream>
#include <span>
#include <string>

#include "libquant/name_rules.h"
#include "octavo/policy.h"

namespace {

using octavo::quant::ArchitectureFacts;
using octavo::quant::KeptLinear;
using octavo::quant::NameRule;

constexpr char kIntroduction[] =
    R"(# What is quantized, by architecture

`octavo convert` decides for each module of a model whether its weight becomes int8. What a
tensor's name and shape cannot tell comes from a table of facts, `libquant/*_architectures.cc`,
by config.json's `model_type`; this page is made from that table. `octavo convert --explain` shows
the decisions for a model, each with its reason, and every .8vo file carries them.

Quantized are the linears of the transformer blocks: they hold most of the weights and do most
of the work. Not quantized, whatever the model:

- embeddings: a lookup costs no multiplication;
- norms, biases and other tensors of one dimension: tiny, and every feature depends on them;
- routers and gates of mixtures of experts: tiny, and a flipped decision changes everything
  behind it;
- position embeddings and relative attention biases: added to scores, never multiplied with
  activations;
- convolutions, and buffers such as attention masks, rotary frequencies or position ids;
- by default the output head, and what is tied to it: its errors reach the logits without
  anything behind it to average them out.

`--skip-modules PATTERN` keeps further modules in 16 bit. `--only-skip` lets the patterns
replace the output heads and the "kept" lists below, and nothing else. Patterns match whole
dotted components, `*` any one: `h.0` matches `transformer.h.0.attn.c_attn` and not `h.01`.

A tied head (`tie_word_embeddings`) has no tensor of its own in the file; if the source stores
it all the same, it is stored once where both are equal byte for byte, and kept as a head of its
own, with a warning, where they are not.

Every architecture below is tested: tiny models of transformers' own classes, with random
weights, square ones among them, are run, saved and converted; what the run multiplied by, and
which way round, must be what was converted (`tests/peers/architectures.py`, part of
`tests/run.sh --peers`).

Names below are the last dotted components of a module's name, so any prefix (`model.`,
`transformer.`, none) is fine.

)";

constexpr char kRulesIntroduction[] =
    R"(
## The general rules

They decide for model types outside the table, and for modules that the table does not name. A
weight is quantized if its tensor ends in `.weight`, has two dimensions and type F16, BF16 or
F32, is stored as [out_features, in_features], and none of these rules, in order, fits the
module's name (numbers at its end aside: `embed_tokens.3` is what `embed_tokens` is). Tensors of three dimensions that hold the weights of all experts are kept: whether they
are [experts, out, in] or [experts, in, out] cannot be seen. Where a bias shows that a model keeps
its linears as [in_features, out_features], what may lie that way stays too. The report says that
the general rules decided.

`tests/peers/name_sweep.py` runs the rules over every model type of transformers by its names: of
the 561 types of version 5.23 that build from their defaults, eight have a module that is no
linear and would be quantized, embeddings with names of their own, which the script lists.

| module's name | is | because |
|---|---|---|
)";

std::string Joined(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) {
    text += (text.empty() ? "`" : ", `") + std::string(name) + "`";
  }
  return text;
}

void PrintNames(const std::string& title, std::span<const std::string_view> names) {
  if (!names.empty()) std::cout << "- " << title << ": " << Joined(names) << "\n";
}

void PrintArchitecture(const ArchitectureFacts& facts) {
  std::cout << "\n## " << facts.name << "\n\n";
  PrintNames("model types", facts.model_types);
  PrintNames("quantized", facts.linears);
  const bool all_transposed = facts.transposed.data() == facts.linears.data();
  if (all_transposed) {
    std::cout << "- stored as [in_features, out_features]: all of them\n";
  } else {
    PrintNames("of these stored as [in_features, out_features]", facts.transposed);
  }
  PrintNames(
      "quantized, one tensor for all experts, " +
          std::string(facts.experts_transposed ? "[experts, in, out]" : "[experts, out, in]"),
      facts.experts);
  PrintNames("output heads, in 16 bit", facts.heads);
  for (const KeptLinear& kept : facts.keep) {
    std::cout << "- kept in 16 bit: `" << kept.pattern << "`, " << kept.reason << "\n";
  }
  if (!facts.tied_head.empty()) {
    std::cout << "- `" << facts.tied_head << "` is tied to `" << facts.tied_to
              << "` if config.json says so" << (facts.tied_by_default ? " or says nothing" : "")
              << "\n";
  }
  std::cout << "\n" << facts.notes << "\n";
}

// What is special about a family, in a few words.
std::string Traits(const ArchitectureFacts& facts) {
  std::string text;
  const auto add = [&text](const std::string& trait) {
    text += (text.empty() ? "" : "; ") + trait;
  };
  if (!facts.transposed.empty()) add("linears stored as [in, out]");
  const bool also_singly = std::ranges::any_of(
      facts.linears, [](std::string_view name) { return name.starts_with("experts.*"); });
  if (!facts.experts.empty()) {
    add(std::string("experts ") + (also_singly ? "singly or " : "") + "in one tensor, " +
        (facts.experts_transposed ? "[experts, in, out]" : "[experts, out, in]"));
  }
  for (const KeptLinear& kept : facts.keep) add("`" + std::string(kept.pattern) + "` stays");
  if (facts.tied_by_default) add("head tied unless config.json says otherwise");
  return text;
}

void PrintOverview(std::span<const ArchitectureFacts> architectures) {
  std::cout << "| architecture | model types | besides |\n|---|---|---|\n";
  for (const ArchitectureFacts& facts : architectures) {
    std::cout << "| " << facts.name << " | " << Joined(facts.model_types) << " | " << Traits(facts)
              << " |\n";
  }
}

std::string Condition(const NameRule& rule) {
  const std::string text = "`" + std::string(rule.text) + "`";
  switch (rule.where) {
    case NameRule::Where::kEnd:
      return "ends with " + text;
    case NameRule::Where::kWhole:
      return "is " + text;
    case NameRule::Where::kComponent:
      return "has a component " + text;
    case NameRule::Where::kContains:
      return "its last component contains " + text;
    case NameRule::Where::kStarts:
      return "its last component begins with " + text;
  }
  return {};
}

}  // namespace

int main() {
  std::cout << kIntroduction;
  PrintOverview(octavo::quant::KnownArchitectures());
  for (const ArchitectureFacts& facts : octavo::quant::KnownArchitectures())
    PrintArchitecture(facts);
  std::cout << kRulesIntroduction;
  for (const NameRule& rule : octavo::quant::GeneralRules()) {
    std::cout << "| " << Condition(rule) << " | " << octavo::format::Name(rule.kind) << " | "
              << rule.reason << " |\n";
  }
}
