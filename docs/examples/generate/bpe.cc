#include "bpe.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <queue>
#include <tuple>

namespace generate {
namespace {

using nlohmann::json;
using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

// Byte-level tokenizers write each byte as a printable character: itself where it is one, else one
// from U+0100 on. All are below U+0180, two bytes of UTF-8 at most. Here: byte by character, -1: none.
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

Status Invalid(const std::string& what) {
  return {ErrorCode::kInvalidFile, "tokenizer.json: " + what};
}

// "a b", or in newer files ["a", "b"].
bool ReadMerge(const json& merge, std::string* left, std::string* right) {
  if (merge.is_array() && merge.size() == 2)
    return BytesOf(merge[0].get<std::string>(), left) &&
           BytesOf(merge[1].get<std::string>(), right);
  const std::string both = merge.get<std::string>();
  const size_t space = both.find(' ');
  return space != std::string::npos && BytesOf(both.substr(0, space), left) &&
         BytesOf(both.substr(space + 1), right);
}

Status CheckOptions(const json& model) {
  const auto unsupported = [](const std::string& what) {
    return Status(ErrorCode::kUnsupported, "tokenizer.json: " + what +
                                               " is not known to this program; give token ids (--ids)");
  };
  const std::string type = model.value("type", std::string("BPE"));
  if (type != "BPE") return unsupported("model type \"" + type + "\"");
  if (model.value("byte_fallback", false)) return unsupported("a BPE with byte_fallback");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (model.contains(key) && model[key].is_string() && !model[key].get<std::string>().empty())
      return unsupported(std::string("a BPE with ") + key);
  return {};
}

}  // namespace

bool BytesOf(std::string_view symbols, std::string* bytes) {
  static const std::array<int16_t, 0x180> byte_of = ByteOfCharacter();
  bytes->clear();
  for (size_t i = 0; i < symbols.size(); ++i) {
    unsigned point = static_cast<unsigned char>(symbols[i]);
    if (point >= 0x80) {
      if ((point & 0xe0) != 0xc0 || ++i == symbols.size()) return false;
      point = (point & 0x1f) << 6 | (static_cast<unsigned char>(symbols[i]) & 0x3f);
    }
    if (point >= byte_of.size() || byte_of[point] < 0) return false;
    bytes->push_back(static_cast<char>(byte_of[point]));
  }
  return true;
}

Result<BytePairs> BytePairs::Read(const json& model) {
  OCTAVO_RETURN_IF_ERROR(CheckOptions(model));
  BytePairs pairs;
  pairs.ignores_merges_ = model.value("ignore_merges", false);
  const json& vocabulary = model.at("vocab");
  for (const auto& [symbols, number] : vocabulary.items()) {
    const int64_t id = number.get<int64_t>();
    if (id < 0 || id > static_cast<int64_t>(2 * vocabulary.size() + 65536))
      return Invalid("token id " + std::to_string(id) + " is out of range");
    std::string bytes;
    if (!BytesOf(symbols, &bytes)) continue;  // a special token, which "added_tokens" has too
    if (pairs.bytes_.size() <= static_cast<size_t>(id)) pairs.bytes_.resize(id + 1);
    pairs.bytes_[id] = bytes;
    pairs.ids_.emplace(std::move(bytes), static_cast<int32_t>(id));
  }
  int32_t rank = 0;
  for (const json& merge : model.at("merges")) {
    std::string left, right;
    if (!ReadMerge(merge, &left, &right)) return Invalid("merge " + merge.dump() + " is not bytes");
    const auto l = pairs.ids_.find(left), r = pairs.ids_.find(right),
               both = pairs.ids_.find(left + right), none = pairs.ids_.end();
    if (l == none || r == none || both == none)
      return Invalid("merge " + merge.dump() + " is not of tokens");
    pairs.merges_.try_emplace(Pair(l->second, r->second), Merge{rank++, both->second});
  }
  return pairs;
}

void BytePairs::Encode(std::string_view piece, std::vector<int32_t>* ids) const {
  if (ignores_merges_) {
    const auto whole = ids_.find(std::string(piece));
    if (whole != ids_.end()) return ids->push_back(whole->second);
  }
  // A list of symbols, linked by index. A symbol that was joined to its left neighbour has id -1.
  struct Symbol {
    int32_t id;
    int32_t left, right;
  };
  std::vector<Symbol> symbols;
  for (const char byte : piece) {
    const auto found = ids_.find(std::string(1, byte));
    if (found == ids_.end()) continue;
    const int32_t i = static_cast<int32_t>(symbols.size());
    symbols.push_back({found->second, i - 1, i + 1});
  }
  if (symbols.empty()) return;
  const int32_t end = static_cast<int32_t>(symbols.size());

  // Pairs that can be joined: first by rank, then from the left. An entry whose symbols have
  // changed since is stale.
  using Entry = std::tuple<int32_t, int32_t, uint64_t, int32_t>;  // rank, left symbol, pair, id
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  const auto consider = [&](int32_t left) {
    if (left < 0 || symbols[left].right == end) return;
    const uint64_t pair = Pair(symbols[left].id, symbols[symbols[left].right].id);
    const auto merge = merges_.find(pair);
    if (merge != merges_.end()) queue.emplace(merge->second.rank, left, pair, merge->second.id);
  };
  for (int32_t i = 0; i < end; ++i) consider(i);
  while (!queue.empty()) {
    const auto [rank, i, pair, id] = queue.top();
    queue.pop();
    Symbol& left = symbols[i];
    if (left.id < 0 || left.right == end || Pair(left.id, symbols[left.right].id) != pair) continue;
    Symbol& right = symbols[left.right];
    left.id = id;
    left.right = right.right;
    right.id = -1;
    if (left.right != end) symbols[left.right].left = i;
    consider(left.left);
    consider(i);
  }
  for (int32_t i = 0; i != end; i = symbols[i].right) ids->push_back(symbols[i].id);
}

const std::string& BytePairs::Bytes(int32_t id) const {
  static const std::string none;
  return id < 0 || static_cast<size_t>(id) >= bytes_.size() ? none : bytes_[id];
}

}  // namespace generate
