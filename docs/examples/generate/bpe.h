// Byte-pair encoding: joins neighbours, the pair that was learnt first at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <octavo/result.h>

namespace generate {

// The tokens and merges of a vocabulary whose symbols are bytes. Const and thread-safe.
class BytePairs {
 public:
  struct Vocabulary {
    std::vector<std::pair<std::string, int32_t>> tokens;      // bytes and id
    std::vector<std::pair<std::string, std::string>> merges;  // first learnt first
    bool ignores_merges = false;  // a piece that is a token as a whole is that token
  };
  // Errors: kInvalidFile (a merge of something that is no token, or to nothing that is one; an id
  // far beyond the number of tokens).
  static octavo::Result<BytePairs> Make(const Vocabulary& vocabulary);

  // Appends the ids of a piece to *ids. Bytes that have no token are left out.
  void Encode(std::string_view piece, std::vector<int32_t>* ids) const;
  // The bytes of a token; empty for a number that is none.
  const std::string& Bytes(int32_t id) const;

 private:
  struct Merge {
    int32_t rank;
    int32_t id;  // of the two together
  };
  static uint64_t Pair(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  std::unordered_map<std::string, int32_t> ids_;  // by bytes
  std::vector<std::string> bytes_;                // by id
  std::unordered_map<uint64_t, Merge> merges_;
  bool ignores_merges_ = false;
};

}  // namespace generate
