// Generates text with a .8vo file, on the CPU, every linear by Octavo. README.md has the tour;
// linears.cc is where Octavo is called.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include <octavo/model.h>

#include "config.h"
#include "options.h"
#include "sampler.h"
#include "tokenizer.h"
#include "transformer.h"

namespace generate {
namespace {

using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

// A long prompt is run in batches of this many tokens, which bounds memory. With scope "batch" an
// outlier counts for all tokens of its batch, so the size of batches is part of what is computed.
constexpr size_t kBatch = 512;

class Timer {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// The prompt's token ids. The tokenizer is not needed, and not looked at, where ids are given.
Result<std::vector<int32_t>> ReadPrompt(const Options& options, const Tokenizer* tokenizer) {
  if (options.ids) return ParseIds(*options.ids);
  if (options.prompt) return tokenizer->Encode(*options.prompt);
  const std::string text(std::istreambuf_iterator<char>(std::cin), {});
  return tokenizer->Encode(text);
}

// Runs the prompt; the logits of what follows it.
Result<std::vector<Real>> RunPrompt(Transformer& transformer, const std::vector<int32_t>& ids) {
  std::span<const Real> logits;
  for (size_t begin = 0; begin < ids.size(); begin += kBatch) {
    const auto batch = std::span(ids).subspan(begin, std::min(kBatch, ids.size() - begin));
    OCTAVO_ASSIGN_OR_RETURN(logits, transformer.Run(batch));
  }
  return std::vector<Real>(logits.begin(), logits.end());
}

Status WriteLogits(Transformer& transformer, const std::vector<int32_t>& ids,
                   const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  for (size_t begin = 0; begin < ids.size(); begin += kBatch) {
    const auto batch = std::span(ids).subspan(begin, std::min(kBatch, ids.size() - begin));
    OCTAVO_ASSIGN_OR_RETURN(const std::span<const Real> logits,
                            transformer.Run(batch, /*all=*/true));
    const std::vector<float> stored(logits.begin(), logits.end());
    file.write(reinterpret_cast<const char*>(stored.data()), stored.size() * sizeof(float));
  }
  file.close();
  if (!file) return {ErrorCode::kIo, path + ": cannot be written"};
  return {};
}

void PrintIds(const std::vector<int32_t>& ids) {
  for (size_t i = 0; i < ids.size(); ++i) std::printf(i == 0 ? "%d" : " %d", ids[i]);
  std::printf("\n");
}

// Prints tokens as they come; returns how many there were.
Result<int64_t> Generate(Transformer& transformer, const Config& config, const Options& options,
                         const Tokenizer* tokenizer, std::span<const Real> logits) {
  Sampler sampler(options.temperature, options.seed);
  int64_t generated = 0;
  while (generated < options.max_tokens) {
    const int32_t id = sampler.Sample(logits);
    const bool ends = std::count(config.end_ids.begin(), config.end_ids.end(), id) > 0;
    if (ends && !options.ignores_end) break;
    const std::string text =
        tokenizer != nullptr ? tokenizer->Decode(id) : std::to_string(id) + " ";
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);  // a reader sees each token as it comes
    if (++generated == options.max_tokens) break;
    OCTAVO_ASSIGN_OR_RETURN(logits, transformer.Run({&id, 1}));
  }
  std::puts("");
  std::fflush(stdout);
  return generated;
}

Status RunWith(const Options& options) {
  const Timer load;
  OCTAVO_ASSIGN_OR_RETURN(const octavo::Model model, octavo::Model::Open(options.model));
  std::optional<Tokenizer> tokenizer;
  if (!options.ids) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string text, model.asset("tokenizer.json"));
    OCTAVO_ASSIGN_OR_RETURN(tokenizer, Tokenizer::Parse(text));
  }
  const Tokenizer* const decoder = tokenizer ? &*tokenizer : nullptr;
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<int32_t> prompt, ReadPrompt(options, decoder));
  if (options.prints_tokens) {
    PrintIds(prompt);
    return {};
  }
  if (prompt.empty()) return {ErrorCode::kInvalidArgument, "the prompt has no token to begin with"};

  OCTAVO_ASSIGN_OR_RETURN(const Config config, ReadConfig(model));
  const int64_t wanted = options.logits.empty() ? options.max_tokens : 0;
  const int64_t capacity = static_cast<int64_t>(prompt.size()) + wanted;
  OCTAVO_ASSIGN_OR_RETURN(Transformer transformer,
                          Transformer::Load(model, config, capacity, options.num_threads));
  if (!options.logits.empty()) return WriteLogits(transformer, prompt, options.logits);

  const double load_seconds = load.seconds();
  const Timer prefill;
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<Real> logits, RunPrompt(transformer, prompt));
  const double prefill_seconds = prefill.seconds();
  const Timer decode;
  OCTAVO_ASSIGN_OR_RETURN(const int64_t generated,
                          Generate(transformer, config, options, decoder, logits));
  const double runs = static_cast<double>(std::max<int64_t>(1, generated - 1));
  std::fprintf(stderr,
               "load %.3f s; prompt of %zu tokens %.3f s, %.1f tokens/s; then %.4f s/token, %.1f "
               "tokens/s\n",
               load_seconds, prompt.size(), prefill_seconds,
               static_cast<double>(prompt.size()) / prefill_seconds, decode.seconds() / runs,
               runs / decode.seconds());
  return {};
}

int Main(int argc, char** argv) {
  const Result<Options> options = ParseOptions(argc, argv);
  if (!options.ok()) {
    std::fprintf(stderr, "generate: %s\n", options.status().message().c_str());
    return 2;
  }
  if (options->wants_help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  Status status;
  try {
    status = RunWith(*options);
  } catch (const std::bad_alloc&) {
    status = {ErrorCode::kLimit, "not enough memory"};
  }
  if (!status.ok()) std::fprintf(stderr, "generate: %s\n", status.message().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace generate

int main(int argc, char** argv) { return generate::Main(argc, argv); }
