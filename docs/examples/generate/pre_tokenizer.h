// Cuts a text into the pieces that byte-pair encoding works on: the "pre_tokenizer" of
// tokenizer.json, in the forms that byte-level models use.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

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

// The rule that does what a regular expression of a "Split" says; nothing for one not known here.
std::optional<SplitRule> RuleOfExpression(std::string_view expression);

// The pieces, in order: all of the text. Each rule cuts what the one in front left. Bytes that are
// not UTF-8 count as characters that are neither letters, numbers nor spaces.
std::vector<std::string_view> Split(std::string_view text, const std::vector<SplitRule>& rules);

}  // namespace generate
