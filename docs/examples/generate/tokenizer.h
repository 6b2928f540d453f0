// Text to token ids and back, as the tokenizer.json of a model says: the library "tokenizers" of
// Hugging Face, for byte-level BPE alone (GPT-2, SmolLM, Llama 3, Qwen without a normalizer, …).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <octavo/result.h>

#include "bpe.h"
#include "pre_tokenizer.h"
#include "tokenizer_json.h"

namespace generate {

// Const and thread-safe.
class Tokenizer {
 public:
  // `text`: of tokenizer.json. Errors: kUnsupported (says what is not known here: a normalizer,
  // another model or pre-tokenizer), kInvalidFile.
  static octavo::Result<Tokenizer> Parse(const std::string& text);

  // With the special tokens that the file puts around a text (Llama 3: <|begin_of_text|>). Names of
  // special tokens in the text become those tokens.
  std::vector<int32_t> Encode(std::string_view text) const;
  // The bytes of a token, not always whole characters; nothing for a special one.
  std::string Decode(int32_t id) const;

 private:
  // Where the first added token in `text` from `begin` on is; the longest of those that begin
  // there.
  const AddedToken* FindAdded(std::string_view text, size_t begin, size_t* where) const;

  BytePairs bpe_;
  std::vector<SplitRule> rules_;
  std::vector<AddedToken> added_;      // longest first
  std::vector<int32_t> first_, last_;  // around every text
};

}  // namespace generate
