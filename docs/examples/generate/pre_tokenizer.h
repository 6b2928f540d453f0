// Cuts a text into the pieces that byte-pair encoding works on: what tokenizer.json has as
// "pre_tokenizer", for the forms that byte-level models use.
#pragma once

#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>
#include <octavo/result.h>

namespace generate {

// One step. Regular expressions over Unicode classes are not in the standard library, so the three
// that these models use are written out by hand.
enum class SplitRule {
  kDigits,        // each number by itself
  kDigitRuns,     // runs of numbers
  kGpt2,          // GPT-2's expression, which ByteLevel has built in
  kNumbersBy3,    // Llama 3's: up to three numbers in a piece
  kNumbersByOne,  // Qwen 2's: one
};

// Steps in order: each cuts what the one in front left. No step: one piece. Errors: kUnsupported,
// naming what tokenizer.json wants.
octavo::Result<std::vector<SplitRule>> ReadPreTokenizer(const nlohmann::json& pre_tokenizer);

// The pieces, in order: all of the text. Bytes that are not UTF-8 count as characters that are
// neither letters, numbers nor spaces.
std::vector<std::string_view> Split(std::string_view text, const std::vector<SplitRule>& rules);

}  // namespace generate
