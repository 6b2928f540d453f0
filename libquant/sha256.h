// SHA-256 by OpenSSL's libcrypto.
#pragma once

// EVP, which replaces these functions, keeps no state that a journal could hold.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <cstddef>
#include <span>
#include <string>

namespace octavo::quant {

// Single thread.
class Sha256 {
 public:
  Sha256();
  void Add(std::span<const std::byte> bytes);
  // What was added so far, as plain bytes, and how to go on from there.
  using State = SHA256_CTX;
  const State& state() const { return state_; }
  void Restore(const State& state);
  // 64 hex digits; once, at the end.
  std::string Finish();

 private:
  State state_;
};

}  // namespace octavo::quant
