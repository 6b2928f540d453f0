#include "tokenizer.h"

#include <algorithm>
#include <utility>

namespace generate {

using octavo::Result;

Result<Tokenizer> Tokenizer::Parse(const std::string& text) {
  OCTAVO_ASSIGN_OR_RETURN(TokenizerFile file, ParseTokenizerJson(text));
  Tokenizer tokenizer;
  OCTAVO_ASSIGN_OR_RETURN(tokenizer.bpe_, BytePairs::Make(file.vocabulary));
  tokenizer.rules_ = std::move(file.rules);
  tokenizer.added_ = std::move(file.added);
  tokenizer.first_ = std::move(file.first);
  tokenizer.last_ = std::move(file.last);
  std::stable_sort(
      tokenizer.added_.begin(), tokenizer.added_.end(),
      [](const auto& a, const auto& b) { return a.content.size() > b.content.size(); });
  return tokenizer;
}

const AddedToken* Tokenizer::FindAdded(std::string_view text, size_t begin, size_t* where) const {
  const AddedToken* first = nullptr;
  *where = text.size();
  for (const AddedToken& added : added_) {
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
    const AddedToken* added = FindAdded(text, begin, &where);
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
  for (const AddedToken& added : added_)
    if (added.id == id) return added.is_special ? std::string() : added.content;
  return bpe_.Bytes(id);
}

}  // namespace generate
