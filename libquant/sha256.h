// SHA-256 (FIPS 180-4), with the CPU's instructions for it where there are some.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace octavo::quant {

// Single thread.
class Sha256 {
 public:
  // use_instructions: false for the plain code, for the tests.
  explicit Sha256(bool use_instructions = true);
  void Add(std::span<const std::byte> bytes);
  // What was added so far, as plain bytes, and how to go on from there.
  struct State {
    std::array<uint32_t, 8> sums = {};
    std::array<std::byte, 64> rest = {};  // bytes that do not fill a block yet
    uint64_t rest_bytes = 0;
    uint64_t total_bytes = 0;
  };
  const State& state() const { return state_; }
  void Restore(const State& state) { state_ = state; }
  // 64 hex digits; once, at the end.
  std::string Finish();

 private:
  static constexpr size_t kBlockBytes = 64;
  using Blocks = void (*)(uint32_t* state, const std::byte* data, size_t num_blocks);

  State state_;
  Blocks blocks_;
};

}  // namespace octavo::quant
