// The command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <octavo/result.h>

namespace generate {

struct Options {
  std::string model;
  std::optional<std::string> prompt;  // nothing: standard input, unless ids are given
  std::optional<std::string> ids;     // token ids in place of a prompt
  std::string logits;                 // file to write; empty: generate
  bool prints_tokens = false;         // of the prompt, and nothing else
  int64_t max_tokens = 128;
  float temperature = 0;
  uint64_t seed = 0;
  bool ignores_end = false;
  int32_t num_threads = 0;
  bool wants_help = false;
};

extern const char kHelp[];

// Errors: kInvalidArgument.
octavo::Result<Options> ParseOptions(int argc, char** argv);

// "1, 2 3": numbers between commas or white space. Errors: kInvalidArgument.
octavo::Result<std::vector<int32_t>> ParseIds(const std::string& text);

}  // namespace generate
