// What tokenizer.json says, as far as byte-level BPE has it, and nothing taken for granted: what
// this program would do otherwise than the library "tokenizers" is an error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <octavo/result.h>

#include "bpe.h"
#include "pre_tokenizer.h"

namespace generate {

// A token by name, found in a text before anything else.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool is_special = false;  // not shown
};

struct TokenizerFile {
  std::vector<SplitRule> rules;
  BytePairs::Vocabulary vocabulary;
  std::vector<AddedToken> added;
  std::vector<int32_t> first, last;  // put around every text
};

// Errors: kUnsupported (names what is not known here), kInvalidFile.
octavo::Result<TokenizerFile> ParseTokenizerJson(const std::string& text);

}  // namespace generate
