// Byte-pair encoding: joins neighbours, the pair that was learnt first at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>
#include <octavo/result.h>

namespace generate {

// The "model" of a tokenizer.json whose symbols are bytes. Const and thread-safe.
class BytePairs {
 public:
  // Errors: kUnsupported (a model that is not BPE, or with options that byte-level ones do not use),
  // kInvalidFile.
  static octavo::Result<BytePairs> Read(const nlohmann::json& model);

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
  bool ignores_merges_ = false;  // a piece that is a token as a whole is that token
};

// The characters that stand for bytes in tokenizer.json ("Ġ" for a space) back to these bytes;
// nothing for a text with another character.
bool BytesOf(std::string_view symbols, std::string* bytes);

}  // namespace generate
