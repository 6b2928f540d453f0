// Chooses the next token from logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "real.h"

namespace generate {

// Temperature 0: the likeliest token, the first of equals. Else at random, by probabilities that
// are sharpened (below 1) or flattened (above 1). The same seed and logits give the same tokens on
// every machine. Used by one thread at a time.
class Sampler {
 public:
  Sampler(float temperature, uint64_t seed) : temperature_(temperature), random_(seed) {}

  int32_t Sample(std::span<const Real> logits) {
    const auto best = std::max_element(logits.begin(), logits.end());
    if (temperature_ <= 0) return static_cast<int32_t>(best - logits.begin());
    weights_.resize(logits.size());
    double sum = 0;
    for (size_t i = 0; i < logits.size(); ++i)
      sum += weights_[i] = std::exp((static_cast<double>(logits[i]) - *best) / temperature_);
    // 53 random bits, not a distribution of the library's, whose results are its own affair.
    double left = static_cast<double>(random_() >> 11) * 0x1p-53 * sum;
    size_t i = 0;
    while (i + 1 < weights_.size() && (left -= weights_[i]) >= 0) ++i;
    return static_cast<int32_t>(i);
  }

 private:
  float temperature_;
  std::mt19937_64 random_;
  std::vector<double> weights_;
};

}  // namespace generate
