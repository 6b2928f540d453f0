// Seeded random numbers. A test's seed is --gtest_random_seed mixed with the test's name, so that
// every test has its own numbers and a failing run can be repeated.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>

namespace octavo::testing {

// Print it with every failure: SCOPED_TRACE(SeedText(seed)).
inline uint64_t TestSeed() {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string name = std::string(test->test_suite_name()) + "." + test->name();
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash ^ static_cast<uint64_t>(::testing::GTEST_FLAG(random_seed));
}

inline std::string SeedText(uint64_t seed) {
  return "seed " + std::to_string(seed) +
         " (--gtest_random_seed=" + std::to_string(::testing::GTEST_FLAG(random_seed)) + ")";
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  float Normal(float deviation = 1.0f) {
    return std::normal_distribution<float>(0.0f, deviation)(engine_);
  }
  float Uniform(float lo, float hi) {
    return std::uniform_real_distribution<float>(lo, hi)(engine_);
  }
  size_t Below(size_t end) { return std::uniform_int_distribution<size_t>(0, end - 1)(engine_); }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  template <class T, size_t kCount>
  T Pick(const T (&choices)[kCount]) {
    return choices[Below(kCount)];
  }
  uint32_t Bits() { return static_cast<uint32_t>(engine_()); }

 private:
  std::mt19937_64 engine_;
};

}  // namespace octavo::testing
