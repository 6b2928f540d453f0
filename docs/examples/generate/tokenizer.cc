#include "tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
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

// What a TemplateProcessing puts around a single text: special tokens in front of sequence A and
// behind it.
Status ReadTemplate(const json& processor, std::vector<int32_t>* first, std::vector<int32_t>* last) {
  std::vector<int32_t>* side = first;
  for (const json& item : processor.at("single")) {
    if (item.contains("Sequence")) {
      side = last;
      continue;
    }
    const std::string name = item.at("SpecialToken").at("id");
    for (const json& id : processor.at("special_tokens").at(name).at("ids"))
      side->push_back(id.get<int32_t>());
  }
  return {};
}

Status ReadPostProcessor(const json& processor, std::vector<int32_t>* first,
                         std::vector<int32_t>* last) {
  if (processor.is_null()) return {};
  const std::string type = processor.at("type");
  if (type == "ByteLevel") return {};  // offsets only
  if (type == "TemplateProcessing") return ReadTemplate(processor, first, last);
  if (type != "Sequence") return Unsupported("post-processor \"" + type + "\"");
  for (const json& step : processor.at("processors"))
    OCTAVO_RETURN_IF_ERROR(ReadPostProcessor(step, first, last));
  return {};
}

}  // namespace

Result<Tokenizer> Tokenizer::Parse(const std::string& text) {
  try {
    const json file = json::parse(text);
    if (file.contains("normalizer") && !file["normalizer"].is_null())
      return Unsupported("normalizer " + file["normalizer"].value("type", std::string("?")));
    Tokenizer tokenizer;
    OCTAVO_ASSIGN_OR_RETURN(tokenizer.rules_, ReadPreTokenizer(file.at("pre_tokenizer")));
    OCTAVO_ASSIGN_OR_RETURN(tokenizer.bpe_, BytePairs::Read(file.at("model")));
    for (const json& token : file.value("added_tokens", json::array())) {
      for (const char* option : {"single_word", "lstrip", "rstrip"})
        if (token.value(option, false)) return Unsupported(std::string("an added token with ") + option);
      tokenizer.added_.push_back({token.at("content"), token.at("id"), token.value("special", false)});
    }
    std::stable_sort(tokenizer.added_.begin(), tokenizer.added_.end(),
                     [](const Added& a, const Added& b) { return a.content.size() > b.content.size(); });
    OCTAVO_RETURN_IF_ERROR(ReadPostProcessor(file.value("post_processor", json()),
                                             &tokenizer.first_, &tokenizer.last_));
    return tokenizer;
  } catch (const json::exception& error) {
    return Status(ErrorCode::kInvalidFile, std::string("tokenizer.json: ") + error.what());
  }
}

const Tokenizer::Added* Tokenizer::FindAdded(std::string_view text, size_t begin,
                                             size_t* where) const {
  const Added* first = nullptr;
  *where = text.size();
  for (const Added& added : added_) {
    const size_t found = added.content.empty() ? text.npos : text.find(added.content, begin);
    if (found < *where) {
      *where = found;
      first = &added;
    }
  }
  return first;
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text) const {
  std::vector<int32_t> ids = first_;
  for (size_t begin = 0; begin < text.size();) {
    size_t where = 0;
    const Added* added = FindAdded(text, begin, &where);
    for (const std::string_view piece : Split(text.substr(begin, where - begin), rules_))
      bpe_.Encode(piece, &ids);
    begin = where;
    if (added == nullptr) break;
    ids.push_back(added->id);
    begin += added->content.size();
  }
  ids.insert(ids.end(), last_.begin(), last_.end());
  return ids;
}

std::string Tokenizer::Decode(int32_t id) const {
  for (const Added& added : added_)
    if (added.id == id) return added.is_special ? std::string() : added.content;
  return bpe_.Bytes(id);
}

}  // namespace generate
