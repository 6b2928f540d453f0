#include "config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

namespace generate {
namespace {

using nlohmann::json;
using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

Status Unsupported(const std::string& what) {
  return {ErrorCode::kUnsupported, "config.json: " + what};
}

// A key that must have a certain value, because nothing else is computed here. Absent: fine.
template <typename T>
Status Demand(const json& config, const char* key, const T& wanted) {
  if (!config.contains(key) || config[key].is_null() || config[key] == json(wanted)) return {};
  return Unsupported(std::string(key) + " is " + config[key].dump() + "; this program knows " +
                     json(wanted).dump());
}

// A size that must be there, at least 1. With at most 2^24, products of two fit without a check.
Result<int64_t> Size(const json& config, const char* key) {
  const int64_t value = config.value(key, int64_t{0});
  if (value > 0 && value <= (int64_t{1} << 24)) return value;
  return Status(ErrorCode::kInvalidFile,
                std::string("config.json: ") + key + " is missing or not a size");
}

// A size whose absence, or null, means something.
Result<int64_t> SizeOr(const json& config, const char* key, int64_t otherwise) {
  if (!config.contains(key) || config[key].is_null()) return otherwise;
  return Size(config, key);
}

Result<Config> ReadGpt2(const json& json_config) {
  OCTAVO_RETURN_IF_ERROR(Demand(json_config, "activation_function", "gelu_new"));
  OCTAVO_RETURN_IF_ERROR(Demand(json_config, "scale_attn_weights", true));
  OCTAVO_RETURN_IF_ERROR(Demand(json_config, "scale_attn_by_inverse_layer_idx", false));
  OCTAVO_RETURN_IF_ERROR(Demand(json_config, "add_cross_attention", false));
  Config config;
  config.family = Family::kGpt2;
  OCTAVO_ASSIGN_OR_RETURN(config.layers, Size(json_config, "n_layer"));
  OCTAVO_ASSIGN_OR_RETURN(config.hidden, Size(json_config, "n_embd"));
  OCTAVO_ASSIGN_OR_RETURN(config.heads, Size(json_config, "n_head"));
  OCTAVO_ASSIGN_OR_RETURN(config.context, Size(json_config, "n_positions"));
  config.kv_heads = config.heads;
  config.head_dim = config.hidden / config.heads;
  config.norm_epsilon = json_config.value("layer_norm_epsilon", Real{1e-5});
  return config;
}

// Llama 3.1 and later: low frequencies are slowed down by `factor`, high ones stay, and between
// the two there is a ramp.
Real Llama3Frequency(Real frequency, const json& rope) {
  const Real factor = rope.at("factor"), low = rope.at("low_freq_factor"),
             high = rope.at("high_freq_factor"),
             context = rope.at("original_max_position_embeddings");
  const Real turns = context * frequency / (2 * std::numbers::pi_v<Real>);
  if (turns > high) return frequency;
  if (turns < low) return frequency / factor;
  const Real smooth = (turns - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

// Newer files say {"rope_parameters": {rope_theta, rope_type, …}}, older ones rope_theta and
// rope_scaling.
Result<std::vector<Real>> RopeFrequencies(const json& json_config, int64_t head_dim) {
  json rope = json::object();
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (json_config.contains(key) && json_config[key].is_object()) rope = json_config[key];
  const Real theta = rope.value("rope_theta", json_config.value("rope_theta", Real{10000}));
  const std::string type = rope.value("rope_type", rope.value("type", std::string("default")));
  if (type != "default" && type != "llama3")
    return Unsupported("rope_type is \"" + type + "\"; this program knows default and llama3");
  OCTAVO_RETURN_IF_ERROR(Demand(rope, "partial_rotary_factor", 1.0));

  std::vector<Real> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const Real frequency =
        1 / std::pow(theta, static_cast<Real>(2 * i) / static_cast<Real>(head_dim));
    frequencies.push_back(type == "llama3" ? Llama3Frequency(frequency, rope) : frequency);
  }
  return frequencies;
}

Result<Config> ReadLlama(const json& json_config) {
  OCTAVO_RETURN_IF_ERROR(Demand(json_config, "hidden_act", "silu"));
  if (json_config.value("use_sliding_window", true))
    OCTAVO_RETURN_IF_ERROR(Demand(json_config, "sliding_window", nullptr));
  Config config;
  OCTAVO_ASSIGN_OR_RETURN(config.layers, Size(json_config, "num_hidden_layers"));
  OCTAVO_ASSIGN_OR_RETURN(config.hidden, Size(json_config, "hidden_size"));
  OCTAVO_ASSIGN_OR_RETURN(config.heads, Size(json_config, "num_attention_heads"));
  OCTAVO_ASSIGN_OR_RETURN(config.context, Size(json_config, "max_position_embeddings"));
  OCTAVO_ASSIGN_OR_RETURN(config.kv_heads,
                          SizeOr(json_config, "num_key_value_heads", config.heads));
  OCTAVO_ASSIGN_OR_RETURN(config.head_dim,
                          SizeOr(json_config, "head_dim", config.hidden / config.heads));
  if (config.heads % config.kv_heads != 0 || config.head_dim % 2 != 0)
    return Unsupported(
        "num_attention_heads must be a multiple of num_key_value_heads, head_dim even");
  config.norm_epsilon = json_config.value("rms_norm_eps", Real{1e-6});
  OCTAVO_ASSIGN_OR_RETURN(config.rope_frequencies, RopeFrequencies(json_config, config.head_dim));
  return config;
}

Result<Config> ReadFamily(const json& json_config) {
  const std::string type = json_config.value("model_type", std::string());
  if (type == "gpt2") return ReadGpt2(json_config);
  if (type == "llama" || type == "mistral" || type == "qwen2") return ReadLlama(json_config);
  return Unsupported("model_type is \"" + type +
                     "\"; this program knows gpt2, llama, mistral and qwen2");
}

// eos_token_id: a number, a list of numbers, null or nothing.
std::vector<int32_t> EndIds(const json& json_config) {
  const auto found = json_config.find("eos_token_id");
  if (found == json_config.end() || found->is_null()) return {};
  return found->is_array() ? found->get<std::vector<int32_t>>()
                           : std::vector<int32_t>{found->get<int32_t>()};
}

}  // namespace

Result<Config> ReadConfig(const octavo::Model& model) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, model.asset("config.json"));
  try {
    const json json_config = json::parse(text);
    OCTAVO_ASSIGN_OR_RETURN(Config config, ReadFamily(json_config));
    OCTAVO_ASSIGN_OR_RETURN(config.vocabulary, Size(json_config, "vocab_size"));
    // generation_config.json has the last word on what ends a text: often more than one token does.
    const Result<std::string> generation = model.asset("generation_config.json");
    if (generation.ok()) config.end_ids = EndIds(json::parse(*generation));
    if (config.end_ids.empty()) config.end_ids = EndIds(json_config);
    return config;
  } catch (const json::exception& error) {
    return Status(ErrorCode::kInvalidFile, std::string("config.json: ") + error.what());
  }
}

}  // namespace generate
