#include "bpe.h"

#include <queue>
#include <tuple>

namespace generate {

using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

Result<BytePairs> BytePairs::Make(const Vocabulary& vocabulary) {
  const auto invalid = [](const std::string& what) {
    return Status(ErrorCode::kInvalidFile, "tokenizer.json: " + what);
  };
  BytePairs pairs;
  pairs.ignores_merges_ = vocabulary.ignores_merges;
  const size_t largest = 2 * vocabulary.tokens.size() + 65536;
  for (const auto& [bytes, id] : vocabulary.tokens) {
    if (id < 0 || static_cast<size_t>(id) > largest)
      return invalid("token id " + std::to_string(id) + " is out of range");
    if (pairs.bytes_.size() <= static_cast<size_t>(id)) pairs.bytes_.resize(id + 1);
    pairs.bytes_[id] = bytes;
    pairs.ids_.emplace(bytes, id);
  }
  int32_t rank = 0;
  for (const auto& [left, right] : vocabulary.merges) {
    const auto l = pairs.ids_.find(left), r = pairs.ids_.find(right),
               both = pairs.ids_.find(left + right), none = pairs.ids_.end();
    if (l == none || r == none || both == none)
      return invalid("merge " + std::to_string(rank) + " is not of tokens");
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
