#include "libquant/sha256.h"

#include <algorithm>
#include <array>

namespace octavo::quant {

Sha256::Sha256() { SHA256_Init(&state_); }

void Sha256::Add(std::span<const std::byte> bytes) {
  SHA256_Update(&state_, bytes.data(), bytes.size());
}

void Sha256::Restore(const State& state) {
  state_ = state;
  // A damaged journal must not lead beyond the buffer.
  state_.num = std::min<unsigned>(state_.num, SHA256_CBLOCK - 1);
  state_.md_len = SHA256_DIGEST_LENGTH;
}

std::string Sha256::Finish() {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256_Final(digest.data(), &state_);
  std::string text;
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace octavo::quant
