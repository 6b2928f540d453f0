// A decoder of the GPT-2 or the Llama type, read from a .8vo file, with its cache of keys and
// values. One text at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <octavo/model.h>

#include "config.h"
#include "linears.h"
#include "workshop.h"

namespace generate {

// LayerNorm has a bias, RMSNorm has none.
struct Norm {
  std::vector<Real> weight;
  std::vector<Real> bias;
};

struct Block {
  Norm attention_norm;
  Linears qkv;  // one fused linear or three: side by side they are the same [q | k | v]
  Linears attention_out;
  Norm mlp_norm;
  Linears up;  // GPT-2: one; Llama: [gate | up]
  Linears down;
  // The cache: [kv_heads][capacity][head_dim].
  std::vector<Real> keys;
  std::vector<Real> values;
};

// Used by one thread at a time; it has threads of its own. Move-only.
class Transformer {
 public:
  // `capacity`: positions that the cache must hold. Errors: kNotFound and kInvalidFile (modules
  // that are missing, or of other sizes than config.json says), kInvalidArgument (capacity beyond
  // the model's context), and those of octavo::Prepare.
  static octavo::Result<Transformer> Load(const octavo::Model& model, const Config& config,
                                          int64_t capacity, int32_t num_threads);

  // Runs the tokens that follow those so far, all in one batch. The result is valid until the next
  // call: logits [vocabulary] of what follows the last token or, with `all`, [ids.size(),
  // vocabulary] of what follows each. Errors: kInvalidArgument (no token, one that does not exist,
  // more than the capacity), and those of octavo::Multiply.
  octavo::Result<std::span<const Real>> Run(std::span<const int32_t> ids, bool all = false);

 private:
  Transformer(const octavo::Model& model, const Config& config, int64_t capacity,
              int32_t num_threads);
  octavo::Status LoadGpt2();
  octavo::Status LoadLlama();
  // load(i, &block) for each block, on all threads: preparing a linear may copy all of its codes.
  template <class Function>
  octavo::Status LoadBlocks(Function&& load_block);
  octavo::Status LoadEmbedding(const std::string& module);
  octavo::Result<Norm> LoadNorm(const std::string& module) const;
  octavo::Status CheckSizes() const;

  octavo::Status Embed(std::span<const int32_t> ids);
  void SetAngles(int64_t tokens);
  void Normalize(const Norm& norm, int64_t tokens);  // x_ -> normed_
  octavo::Status RunBlock(Block& block, int64_t tokens);
  void Attend(Block& block, int64_t tokens);
  void StoreKeysAndValues(Block& block, int64_t token);
  void AttendHead(const Block& block, int64_t token, int64_t head);
  octavo::Status AddProduct(const Linears& linears, const Real* from, int64_t tokens);

  octavo::Model model_;  // keeps the mapping alive
  Config config_;
  int64_t capacity_ = 0;
  int64_t position_ = 0;  // tokens in the cache
  std::unique_ptr<Workshop> workshop_;

  std::span<const std::byte> embedding_;  // [vocabulary, hidden]
  octavo::DType embedding_dtype_ = octavo::DType::kF16;
  std::vector<std::byte> embedding_owned_;
  std::vector<Real> position_embedding_;  // GPT-2: [context, hidden]
  std::vector<Block> blocks_;
  Norm final_norm_;
  Linears head_;

  // Of a call: [tokens, …].
  std::vector<Real> x_, normed_, qkv_, attended_, up_, activated_, product_, logits_;
  std::vector<Real> cosines_, sines_;  // [tokens, head_dim / 2]
  std::vector<Real> scores_;           // [heads, capacity]
};

}  // namespace generate
