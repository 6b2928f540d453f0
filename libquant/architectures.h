// The table of facts about model families, in four files by what the families are.
// docs/architectures.md is generated from it, and tests/peers/architectures.py holds every row
// against transformers' own model.
#pragma once

#include <span>
#include <string_view>

#include "octavo/policy.h"

namespace octavo::quant {

using Names = std::string_view[];

// Of decoders, in whatever class they come.
inline constexpr Names kDecoderHeads = {"lm_head", "score", "classifier", "qa_outputs"};

std::span<const ArchitectureFacts> GptArchitectures();      // GPT-2 and the decoders of its time
std::span<const ArchitectureFacts> LlamaArchitectures();    // and those since
std::span<const ArchitectureFacts> ExpertArchitectures();   // decoders with mixtures of experts
std::span<const ArchitectureFacts> EncoderArchitectures();  // and encoders with decoders

}  // namespace octavo::quant
