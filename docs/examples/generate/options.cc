#include "options.h"

#include <charconv>
#include <cmath>

namespace generate {

using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

const char kHelp[] = R"(Generates text with a .8vo file: GPT-2- and Llama-type models, on the CPU.

usage: generate MODEL.8vo [OPTIONS] [PROMPT]

  PROMPT             what to go on with; from standard input where it is missing
  -n, --tokens N     generate at most N tokens (128); fewer where the model ends its text
  -t, --temperature T  0: always the likeliest token (the default); 1: as the model has it
  --seed N           what chance begins with, for temperatures above 0 (0)
  --ids LIST         token ids instead of a prompt, "464,3290 318"; the output is ids, too
  --ignore-end       go on behind the token that ends a text
  --print-tokens     print the prompt's token ids and end
  --logits FILE      write the logits of what follows each token of the prompt and end:
                     float32, little-endian, [tokens, vocabulary]
  --threads N        how many threads (one for each CPU)
  -h, --help         this text

The text goes to standard output, times to standard error. Exit status: 0 done, 1 failed, 2 wrong
usage.

examples:
  octavo convert ~/models/SmolLM2-135M -o smollm2.8vo
  generate smollm2.8vo "My name is" -n 40
  generate smollm2.8vo -t 0.8 --seed 7 < prompt.txt
  generate smollm2.8vo --ids "1, 28, 216" -n 8
)";

namespace {

Status Usage(const std::string& what) {
  return {ErrorCode::kInvalidArgument, what + "; see generate --help"};
}

template <typename T>
Status Number(const std::string& text, const std::string& option, T smallest, T largest, T* value) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, *value);
  if (error == std::errc() && stopped == end && *value >= smallest && *value <= largest) return {};
  return Usage(option + " wants a number from " + std::to_string(smallest) + " to " +
               std::to_string(largest) + ", not \"" + text + "\"");
}

// Sets the option of that name from its value.
Status Set(const std::string& option, const std::string& value, Options* options) {
  if (option == "-n" || option == "--tokens")
    return Number<int64_t>(value, option, 0, 1 << 30, &options->max_tokens);
  if (option == "-t" || option == "--temperature")
    return Number(value, option, 0.0f, 1000.0f, &options->temperature);
  if (option == "--seed") return Number<uint64_t>(value, option, 0, UINT64_MAX, &options->seed);
  if (option == "--threads") return Number<int32_t>(value, option, 1, 4096, &options->num_threads);
  if (option == "--logits") options->logits = value;
  if (option == "--ids") options->ids = value;
  return {};
}

bool HasValue(const std::string& option) {
  for (const char* name :
       {"-n", "--tokens", "-t", "--temperature", "--seed", "--threads", "--logits", "--ids"})
    if (option == name) return true;
  return false;
}

Status SetFlag(const std::string& option, Options* options) {
  if (option == "--ignore-end") {
    options->ignores_end = true;
  } else if (option == "--print-tokens") {
    options->prints_tokens = true;
  } else if (option == "-h" || option == "--help") {
    options->wants_help = true;
  } else {
    return Usage("there is no option " + option);
  }
  return {};
}

}  // namespace

Result<Options> ParseOptions(int argc, char** argv) {
  Options options;
  std::vector<std::string> words;
  bool only_words = false;  // behind "--"
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (only_words || argument.size() < 2 || argument[0] != '-') {
      words.push_back(argument);
    } else if (argument == "--") {
      only_words = true;
    } else if (!HasValue(argument)) {
      OCTAVO_RETURN_IF_ERROR(SetFlag(argument, &options));
    } else if (i + 1 == argc) {
      return Usage(argument + " wants a value");
    } else {
      OCTAVO_RETURN_IF_ERROR(Set(argument, argv[++i], &options));
    }
  }
  if (options.wants_help) return options;
  if (words.empty() || words.size() > 2)
    return Usage(
        "a model and at most one prompt are wanted; a prompt of several words needs quotes");
  options.model = words[0];
  if (words.size() == 2) options.prompt = words[1];
  if (options.prompt && options.ids) return Usage("a prompt or --ids is wanted, not both");
  return options;
}

Result<std::vector<int32_t>> ParseIds(const std::string& text) {
  const char* separators = ", \t\r\n";
  std::vector<int32_t> ids;
  for (size_t begin = text.find_first_not_of(separators); begin != text.npos;) {
    const size_t end = std::min(text.find_first_of(separators, begin), text.size());
    ids.emplace_back();
    OCTAVO_RETURN_IF_ERROR(
        Number<int32_t>(text.substr(begin, end - begin), "--ids", 0, INT32_MAX, &ids.back()));
    begin = text.find_first_not_of(separators, end);
  }
  return ids;
}

}  // namespace generate
