// What config.json says about a model, as far as this program must know it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <octavo/model.h>
#include <octavo/result.h>

#include "real.h"

namespace generate {

enum class Family { kGpt2, kLlama };

// Rotary embedding: angle = position * frequency, one frequency for each pair of a head's features.
struct Config {
  Family family = Family::kLlama;
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // fewer than heads: several heads share keys and values
  int64_t head_dim = 0;
  int64_t vocabulary = 0;
  int64_t context = 0;  // positions that the model was made for
  Real norm_epsilon = 0;
  std::vector<Real> rope_frequencies;  // [head_dim / 2]; empty: positions are embedded (GPT-2)
  std::vector<int32_t> end_ids;        // tokens that end a text; may be empty
};

// Errors: kUnsupported (a model type, activation or rope that this program does not know; names
// what it does), kInvalidFile (no config.json, or one that is no use), each naming the key.
octavo::Result<Config> ReadConfig(const octavo::Model& model);

}  // namespace generate
