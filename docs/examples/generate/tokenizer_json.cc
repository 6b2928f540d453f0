#include "tokenizer_json.h"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace generate {
namespace {

using nlohmann::json;
using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

Status Unsupported(const std::string& what) {
  return {ErrorCode::kUnsupported,
          "tokenizer.json: " + what + " is not known to this program; give token ids (--ids)"};
}

// ---- The pre-tokenizer --------------------------------------------------------------------------

Status ReadStep(const json& step, std::vector<SplitRule>* rules) {
  const std::string type = step.at("type");
  if (type == "ByteLevel") {
    if (step.value("add_prefix_space", true)) return Unsupported("ByteLevel with add_prefix_space");
    if (step.value("use_regex", true)) rules->push_back(SplitRule::kGpt2);
    return {};
  }
  if (type == "Digits") {
    const bool each = step.value("individual_digits", false);
    rules->push_back(each ? SplitRule::kDigits : SplitRule::kDigitRuns);
    return {};
  }
  if (type == "Split" && step.at("behavior") == "Isolated" && !step.value("invert", false)) {
    const auto rule = RuleOfExpression(step.at("pattern").value("Regex", std::string()));
    if (!rule) return Unsupported("a split by " + step.at("pattern").dump());
    rules->push_back(*rule);
    return {};
  }
  return Unsupported("pre-tokenizer " + type);
}

Status ReadPreTokenizer(const json& pre_tokenizer, std::vector<SplitRule>* rules) {
  if (pre_tokenizer.is_null()) return Unsupported("to have no pre-tokenizer");
  json steps = json::array({pre_tokenizer});
  if (pre_tokenizer.at("type") == "Sequence") steps = pre_tokenizer.at("pretokenizers");
  for (const json& step : steps) OCTAVO_RETURN_IF_ERROR(ReadStep(step, rules));
  if (steps.empty() || steps.back().at("type") != "ByteLevel")
    return Unsupported("a pre-tokenizer without ByteLevel at its end");
  return {};
}

// ---- The vocabulary -----------------------------------------------------------------------------

// Byte-level tokenizers write each byte as a printable character: itself where it is one, else one
// from U+0100 on. All are below U+0180. Here: byte by character; -1: none.
std::array<int16_t, 0x180> ByteOfCharacter() {
  std::array<int16_t, 0x180> byte_of;
  byte_of.fill(-1);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    byte_of[is_printable ? byte : next++] = static_cast<int16_t>(byte);
  }
  return byte_of;
}

// "Ġthe" -> " the"; nothing for a text with a character that stands for no byte.
std::optional<std::string> BytesOf(std::string_view symbols) {
  static const std::array<int16_t, 0x180> byte_of = ByteOfCharacter();
  std::string bytes;
  for (size_t i = 0; i < symbols.size(); ++i) {
    unsigned point = static_cast<unsigned char>(symbols[i]);
    if (point >= 0x80) {
      if ((point & 0xe0) != 0xc0 || ++i == symbols.size()) return std::nullopt;
      point = (point & 0x1f) << 6 | (static_cast<unsigned char>(symbols[i]) & 0x3f);
    }
    if (point >= byte_of.size() || byte_of[point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte_of[point]));
  }
  return bytes;
}

// "a b", in newer files ["a", "b"].
Result<std::pair<std::string, std::string>> ReadMerge(const json& merge) {
  std::string left, right;
  if (merge.is_array()) {
    left = merge.at(0);
    right = merge.at(1);
  } else {
    const std::string both = merge;
    const size_t space = std::min(both.find(' '), both.size());
    left = both.substr(0, space);
    right = both.substr(std::min(space + 1, both.size()));
  }
  auto left_bytes = BytesOf(left), right_bytes = BytesOf(right);
  if (left_bytes && right_bytes) return std::pair(std::move(*left_bytes), std::move(*right_bytes));
  return Status(ErrorCode::kInvalidFile, "tokenizer.json: merge " + merge.dump() + " is no bytes");
}

Status ReadVocabulary(const json& model, BytePairs::Vocabulary* vocabulary) {
  const std::string type = model.value("type", std::string("BPE"));
  if (type != "BPE") return Unsupported("model " + type);
  if (model.value("byte_fallback", false)) return Unsupported("a BPE with byte_fallback");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (model.contains(key) && !model[key].is_null() && model[key] != "")
      return Unsupported(std::string("a BPE with ") + key);
  vocabulary->ignores_merges = model.value("ignore_merges", false);
  for (const auto& [symbols, id] : model.at("vocab").items()) {
    // What is no bytes is a special token, which is among the added ones too.
    if (auto bytes = BytesOf(symbols))
      vocabulary->tokens.emplace_back(std::move(*bytes), id.get<int32_t>());
  }
  for (const json& merge : model.at("merges")) {
    OCTAVO_ASSIGN_OR_RETURN(auto pair, ReadMerge(merge));
    vocabulary->merges.push_back(std::move(pair));
  }
  return {};
}

// ---- Special tokens -----------------------------------------------------------------------------

Status ReadAdded(const json& tokens, std::vector<AddedToken>* added) {
  for (const json& token : tokens) {
    for (const char* option : {"single_word", "lstrip", "rstrip"})
      if (token.value(option, false))
        return Unsupported(std::string("an added token with ") + option);
    added->push_back({token.at("content"), token.at("id"), token.value("special", false)});
  }
  return {};
}

// A template has special tokens in front of the text, "Sequence", and behind it.
void ReadTemplate(const json& processor, TokenizerFile* file) {
  std::vector<int32_t>* side = &file->first;
  for (const json& item : processor.at("single")) {
    if (item.contains("Sequence")) {
      side = &file->last;
      continue;
    }
    const std::string name = item.at("SpecialToken").at("id");
    for (const json& id : processor.at("special_tokens").at(name).at("ids")) side->push_back(id);
  }
}

Status ReadPostProcessor(const json& processor, TokenizerFile* file) {
  if (processor.is_null()) return {};
  json steps = json::array({processor});
  if (processor.at("type") == "Sequence") steps = processor.at("processors");
  for (const json& step : steps) {
    const std::string type = step.at("type");
    if (type == "ByteLevel") continue;  // concerns offsets only
    if (type != "TemplateProcessing") return Unsupported("post-processor " + type);
    ReadTemplate(step, file);
  }
  return {};
}

Result<TokenizerFile> Read(const json& text) {
  if (text.contains("normalizer") && !text["normalizer"].is_null())
    return Unsupported("normalizer " + text["normalizer"].value("type", std::string("?")));
  TokenizerFile file;
  OCTAVO_RETURN_IF_ERROR(ReadPreTokenizer(text.value("pre_tokenizer", json()), &file.rules));
  OCTAVO_RETURN_IF_ERROR(ReadVocabulary(text.at("model"), &file.vocabulary));
  OCTAVO_RETURN_IF_ERROR(ReadAdded(text.value("added_tokens", json::array()), &file.added));
  OCTAVO_RETURN_IF_ERROR(ReadPostProcessor(text.value("post_processor", json()), &file));
  return file;
}

}  // namespace

Result<TokenizerFile> ParseTokenizerJson(const std::string& text) {
  try {
    return Read(json::parse(text));
  } catch (const json::exception& error) {
    return Status(ErrorCode::kInvalidFile, std::string("tokenizer.json: ") + error.what());
  }
}

}  // namespace generate
