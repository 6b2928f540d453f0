#include "transformer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "floats.h"
#include "tensors.h"

namespace generate {

using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

namespace {

Status Invalid(std::string message) { return {ErrorCode::kInvalidFile, std::move(message)}; }

// Checkpoints name their modules with or without the base model's name in front.
std::string Prefix(const octavo::Model& model, const std::string& base,
                   const std::string& embedding) {
  return model.reader().FindModule(base + embedding) != nullptr ? base : std::string();
}

// Row `token` of a matrix of floats with `columns` columns.
std::span<Real> Row(std::vector<Real>& matrix, int64_t token, int64_t columns) {
  return {matrix.data() + token * columns, static_cast<size_t>(columns)};
}

}  // namespace

// ---- Loading ------------------------------------------------------------------------------------

Transformer::Transformer(const octavo::Model& model, const Config& config, int64_t capacity,
                         int32_t num_threads)
    : model_(model),
      config_(config),
      capacity_(capacity),
      workshop_(std::make_unique<Workshop>(num_threads)) {}

Result<Transformer> Transformer::Load(const octavo::Model& model, const Config& config,
                                      int64_t capacity, int32_t num_threads) {
  if (capacity > config.context)
    return Status(ErrorCode::kInvalidArgument, std::to_string(capacity) +
                                                   " tokens are wanted; the model was made for " +
                                                   std::to_string(config.context));
  Transformer transformer(model, config, capacity, num_threads);
  OCTAVO_RETURN_IF_ERROR(config.family == Family::kGpt2 ? transformer.LoadGpt2()
                                                        : transformer.LoadLlama());
  OCTAVO_RETURN_IF_ERROR(transformer.CheckSizes());
  const size_t cache_size = config.kv_heads * capacity * config.head_dim;
  for (Block& block : transformer.blocks_) {
    block.keys.resize(cache_size);
    block.values.resize(cache_size);
  }
  transformer.scores_.resize(config.heads * capacity);
  return transformer;
}

template <class Function>
Status Transformer::LoadBlocks(Function&& load_block) {
  if (config_.layers > static_cast<int64_t>(model_.manifest().modules.size()))
    return Invalid("config.json says " + std::to_string(config_.layers) + " layers; the file has " +
                   std::to_string(model_.manifest().modules.size()) + " modules");
  blocks_.resize(config_.layers);
  std::vector<Status> statuses(config_.layers);
  workshop_->ForEach(config_.layers, [&](int64_t i) { statuses[i] = load_block(i, &blocks_[i]); });
  for (const Status& status : statuses) OCTAVO_RETURN_IF_ERROR(status);
  return {};
}

Status Transformer::LoadGpt2() {
  const std::string prefix = Prefix(model_, "transformer.", "wte");
  OCTAVO_RETURN_IF_ERROR(LoadEmbedding(prefix + "wte"));
  OCTAVO_ASSIGN_OR_RETURN(position_embedding_, ReadFloats(model_, prefix + "wpe.weight",
                                                          config_.context * config_.hidden));
  OCTAVO_ASSIGN_OR_RETURN(final_norm_, LoadNorm(prefix + "ln_f"));
  OCTAVO_ASSIGN_OR_RETURN(head_, Linears::Load(model_, {"lm_head"}));
  return LoadBlocks([&](int64_t i, Block* block) -> Status {
    const std::string name = prefix + "h." + std::to_string(i) + ".";
    OCTAVO_ASSIGN_OR_RETURN(block->attention_norm, LoadNorm(name + "ln_1"));
    OCTAVO_ASSIGN_OR_RETURN(block->qkv, Linears::Load(model_, {name + "attn.c_attn"}));
    OCTAVO_ASSIGN_OR_RETURN(block->attention_out, Linears::Load(model_, {name + "attn.c_proj"}));
    OCTAVO_ASSIGN_OR_RETURN(block->mlp_norm, LoadNorm(name + "ln_2"));
    OCTAVO_ASSIGN_OR_RETURN(block->up, Linears::Load(model_, {name + "mlp.c_fc"}));
    OCTAVO_ASSIGN_OR_RETURN(block->down, Linears::Load(model_, {name + "mlp.c_proj"}));
    return {};
  });
}

Status Transformer::LoadLlama() {
  const std::string prefix = Prefix(model_, "model.", "embed_tokens");
  OCTAVO_RETURN_IF_ERROR(LoadEmbedding(prefix + "embed_tokens"));
  OCTAVO_ASSIGN_OR_RETURN(final_norm_, LoadNorm(prefix + "norm"));
  OCTAVO_ASSIGN_OR_RETURN(head_, Linears::Load(model_, {"lm_head"}));
  return LoadBlocks([&](int64_t i, Block* block) -> Status {
    const std::string name = prefix + "layers." + std::to_string(i) + ".";
    const std::string attention = name + "self_attn.", mlp = name + "mlp.";
    OCTAVO_ASSIGN_OR_RETURN(block->attention_norm, LoadNorm(name + "input_layernorm"));
    OCTAVO_ASSIGN_OR_RETURN(
        block->qkv,
        Linears::Load(model_, {attention + "q_proj", attention + "k_proj", attention + "v_proj"}));
    OCTAVO_ASSIGN_OR_RETURN(block->attention_out, Linears::Load(model_, {attention + "o_proj"}));
    OCTAVO_ASSIGN_OR_RETURN(block->mlp_norm, LoadNorm(name + "post_attention_layernorm"));
    OCTAVO_ASSIGN_OR_RETURN(block->up, Linears::Load(model_, {mlp + "gate_proj", mlp + "up_proj"}));
    OCTAVO_ASSIGN_OR_RETURN(block->down, Linears::Load(model_, {mlp + "down_proj"}));
    return {};
  });
}

Status Transformer::LoadEmbedding(const std::string& module) {
  const std::string name = module + ".weight";
  OCTAVO_ASSIGN_OR_RETURN(embedding_, ReadBytes(model_, name, &embedding_owned_));
  embedding_dtype_ = model_.reader().FindTensor(name)->dtype;
  if (static_cast<int64_t>(embedding_.size()) ==
      config_.vocabulary * config_.hidden * octavo::DTypeBytes(embedding_dtype_))
    return {};
  return Invalid("tensor \"" + name + "\" is not [" + std::to_string(config_.vocabulary) + ", " +
                 std::to_string(config_.hidden) + "], as config.json says");
}

Result<Norm> Transformer::LoadNorm(const std::string& module) const {
  Norm norm;
  OCTAVO_ASSIGN_OR_RETURN(norm.weight, ReadFloats(model_, module + ".weight", config_.hidden));
  if (config_.family == Family::kGpt2) {
    OCTAVO_ASSIGN_OR_RETURN(norm.bias, ReadFloats(model_, module + ".bias", config_.hidden));
  }
  return norm;
}

Status Transformer::CheckSizes() const {
  const int64_t hidden = config_.hidden, heads_size = config_.heads * config_.head_dim;
  const auto fits = [](const Linears& linears, int64_t in, int64_t out) {
    return linears.in_features() == in && linears.out_features() == out;
  };
  if (!fits(head_, hidden, config_.vocabulary))
    return Invalid("the output head does not fit config.json");
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const int64_t inner = block.down.in_features();
    const int64_t ups = config_.family == Family::kLlama ? 2 : 1;
    if (!fits(block.qkv, hidden, heads_size + 2 * config_.kv_heads * config_.head_dim) ||
        !fits(block.attention_out, heads_size, hidden) || !fits(block.down, inner, hidden) ||
        !fits(block.up, hidden, ups * inner))
      return Invalid("the linears of layer " + std::to_string(i) + " do not fit config.json");
  }
  return {};
}

// ---- Running ------------------------------------------------------------------------------------

Result<std::span<const Real>> Transformer::Run(std::span<const int32_t> ids, bool all) {
  const int64_t tokens = static_cast<int64_t>(ids.size());
  if (tokens == 0 || position_ + tokens > capacity_)
    return Status(ErrorCode::kInvalidArgument,
                  std::to_string(tokens) + " tokens after " + std::to_string(position_) +
                      ": from 1 to " + std::to_string(capacity_ - position_) + " can be run");
  OCTAVO_RETURN_IF_ERROR(Embed(ids));
  SetAngles(tokens);
  for (Block& block : blocks_) OCTAVO_RETURN_IF_ERROR(RunBlock(block, tokens));
  position_ += tokens;

  Normalize(final_norm_, tokens);
  const int64_t rows = all ? tokens : 1;
  logits_.resize(rows * config_.vocabulary);
  OCTAVO_RETURN_IF_ERROR(head_.Multiply(normed_.data() + (tokens - rows) * config_.hidden, rows,
                                        logits_.data(), *workshop_));
  return std::span<const Real>(logits_);
}

Status Transformer::Embed(std::span<const int32_t> ids) {
  const int64_t hidden = config_.hidden;
  const int64_t row_bytes = hidden * octavo::DTypeBytes(embedding_dtype_);
  x_.resize(ids.size() * hidden);
  for (size_t t = 0; t < ids.size(); ++t) {
    if (ids[t] < 0 || ids[t] >= config_.vocabulary)
      return {ErrorCode::kInvalidArgument, "there is no token " + std::to_string(ids[t]) +
                                               ": the vocabulary has " +
                                               std::to_string(config_.vocabulary)};
    Real* x = x_.data() + t * hidden;
    Widen(embedding_.data() + ids[t] * row_bytes, embedding_dtype_, hidden, x);
    if (!position_embedding_.empty())
      AddScaled(1, position_embedding_.data() + (position_ + t) * hidden, hidden, x);
  }
  return {};
}

void Transformer::SetAngles(int64_t tokens) {
  cosines_.clear();
  sines_.clear();
  for (int64_t t = 0; t < tokens; ++t)
    for (const Real frequency : config_.rope_frequencies) {
      const Real angle = static_cast<Real>(position_ + t) * frequency;
      cosines_.push_back(std::cos(angle));
      sines_.push_back(std::sin(angle));
    }
}

void Transformer::Normalize(const Norm& norm, int64_t tokens) {
  normed_.resize(x_.size());
  workshop_->ForEach(tokens, [&](int64_t t) {
    const std::span<const Real> x = Row(x_, t, config_.hidden);
    Real* out = Row(normed_, t, config_.hidden).data();
    if (norm.bias.empty()) {
      RmsNorm(x, norm.weight, config_.norm_epsilon, out);
    } else {
      LayerNorm(x, norm.weight, norm.bias, config_.norm_epsilon, out);
    }
  });
}

Status Transformer::RunBlock(Block& block, int64_t tokens) {
  Normalize(block.attention_norm, tokens);
  qkv_.resize(tokens * block.qkv.out_features());
  OCTAVO_RETURN_IF_ERROR(block.qkv.Multiply(normed_.data(), tokens, qkv_.data(), *workshop_));
  Attend(block, tokens);
  OCTAVO_RETURN_IF_ERROR(AddProduct(block.attention_out, attended_.data(), tokens));

  Normalize(block.mlp_norm, tokens);
  up_.resize(tokens * block.up.out_features());
  OCTAVO_RETURN_IF_ERROR(block.up.Multiply(normed_.data(), tokens, up_.data(), *workshop_));
  activated_.resize(tokens * block.down.in_features());
  const int64_t inner = block.down.in_features();
  workshop_->ForEach(tokens, [&](int64_t t) {
    Real* out = Row(activated_, t, inner).data();
    const Real* up = Row(up_, t, block.up.out_features()).data();
    if (config_.family == Family::kGpt2) {
      Gelu(up, inner, out);
    } else {
      SiluTimes(up, up + inner, inner, out);
    }
  });
  return AddProduct(block.down, activated_.data(), tokens);
}

Status Transformer::AddProduct(const Linears& linears, const Real* from, int64_t tokens) {
  product_.resize(x_.size());
  OCTAVO_RETURN_IF_ERROR(linears.Multiply(from, tokens, product_.data(), *workshop_));
  AddScaled(1, product_.data(), static_cast<int64_t>(x_.size()), x_.data());
  return {};
}

void Transformer::Attend(Block& block, int64_t tokens) {
  attended_.resize(tokens * config_.heads * config_.head_dim);
  workshop_->ForEach(tokens, [&](int64_t t) { StoreKeysAndValues(block, t); });
  workshop_->ForEach(config_.heads, [&](int64_t head) {
    for (int64_t t = 0; t < tokens; ++t) AttendHead(block, t, head);
  });
}

// Turns a token's queries and keys by its position, and puts keys and values into the cache.
void Transformer::StoreKeysAndValues(Block& block, int64_t token) {
  const int64_t size = config_.head_dim, heads = config_.heads, kv_heads = config_.kv_heads;
  Real* q = Row(qkv_, token, (heads + 2 * kv_heads) * size).data();
  Real* k = q + heads * size;
  const Real* v = k + kv_heads * size;
  if (!config_.rope_frequencies.empty()) {
    const auto cosines = Row(cosines_, token, size / 2), sines = Row(sines_, token, size / 2);
    for (int64_t head = 0; head < heads + kv_heads; ++head) Rotate(q + head * size, cosines, sines);
  }
  for (int64_t head = 0; head < kv_heads; ++head) {
    const int64_t place = (head * capacity_ + position_ + token) * size;
    std::copy_n(k + head * size, size, block.keys.data() + place);
    std::copy_n(v + head * size, size, block.values.data() + place);
  }
}

void Transformer::AttendHead(const Block& block, int64_t token, int64_t head) {
  const int64_t size = config_.head_dim, heads = config_.heads, kv_heads = config_.kv_heads;
  const int64_t cached = head / (heads / kv_heads) * capacity_ * size;
  const Real* keys = block.keys.data() + cached;
  const Real* values = block.values.data() + cached;
  const Real* q = Row(qkv_, token, (heads + 2 * kv_heads) * size).data() + head * size;
  const Real scale = 1 / std::sqrt(static_cast<Real>(size));

  const int64_t seen = position_ + token + 1;  // a token sees itself and those in front
  const std::span<Real> weights(scores_.data() + head * capacity_, seen);
  for (int64_t p = 0; p < seen; ++p) weights[p] = scale * Dot(q, keys + p * size, size);
  Softmax(weights);
  Real* out = attended_.data() + (token * heads + head) * size;
  std::fill_n(out, size, 0.0f);
  for (int64_t p = 0; p < seen; ++p) AddScaled(weights[p], values + p * size, size, out);
}

}  // namespace generate
