#include "libquant/sha256.h"

#include <algorithm>
#include <array>

#include "libquant/hex.h"

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
  return Hex(std::as_bytes(std::span(digest)));
}

}  // namespace octavo::quant
