// config.json, as far as conversion needs it.
#include <cfloat>
#include <nlohmann/json.hpp>

#include "octavo/policy.h"

namespace octavo::quant {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr int kMaxDepth = 64;  // config.json of real models nests about 5 deep

Result<json> ParseBounded(std::string_view text) {
  if (text.size() > kMaxConfigBytes) {
    return Status(ErrorCode::kInvalidFile, "config.json: larger than 16 MiB");
  }
  bool too_deep = false;
  const auto depth_check = [&too_deep](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  json parsed = json::parse(text.begin(), text.end(), depth_check, /*allow_exceptions=*/false);
  if (too_deep) return Status(ErrorCode::kInvalidFile, "config.json: nested more than 64 deep");
  if (!parsed.is_object()) {
    return Status(ErrorCode::kInvalidFile, "config.json: not a JSON object");
  }
  return parsed;
}

Status WrongType(std::string_view key, std::string_view expected) {
  return Status(ErrorCode::kInvalidFile,
                "config.json: \"" + std::string(key) + "\" is not " + std::string(expected));
}

// What quantized the source, as a word for people.
std::string QuantMethod(const json& quantization_config) {
  const auto method = quantization_config.find("quant_method");
  if (method != quantization_config.end() && method->is_string() &&
      !method->get_ref<const std::string&>().empty()) {
    return method->get<std::string>();
  }
  for (const char* key : {"load_in_8bit", "load_in_4bit"}) {
    if (quantization_config.contains(key)) return "bitsandbytes";
  }
  return "unknown";
}

Result<std::optional<bool>> TieWordEmbeddings(const json& config) {
  const auto it = config.find("tie_word_embeddings");
  if (it == config.end() || it->is_null()) return std::optional<bool>();
  if (!it->is_boolean()) return WrongType("tie_word_embeddings", "true or false");
  return std::optional<bool>(it->get<bool>());
}

}  // namespace

Result<ModelConfig> ParseModelConfig(std::string_view config_json) {
  ModelConfig config;
  if (config_json.empty()) return config;
  OCTAVO_ASSIGN_OR_RETURN(const json parsed, ParseBounded(config_json));

  if (const auto it = parsed.find("model_type"); it != parsed.end() && !it->is_null()) {
    if (!it->is_string()) return WrongType("model_type", "a string");
    config.model_type = it->get<std::string>();
  }
  if (const auto it = parsed.find("architectures"); it != parsed.end() && !it->is_null()) {
    if (!it->is_array()) return WrongType("architectures", "an array");
    if (!it->empty()) {
      if (!it->front().is_string()) return WrongType("architectures", "an array of strings");
      config.architecture = it->front().get<std::string>();
    }
  }
  OCTAVO_ASSIGN_OR_RETURN(config.tie_word_embeddings, TieWordEmbeddings(parsed));
  const auto text = parsed.find("text_config");  // of models for images or sound and text
  if (!config.tie_word_embeddings && text != parsed.end() && text->is_object()) {
    OCTAVO_ASSIGN_OR_RETURN(config.tie_word_embeddings, TieWordEmbeddings(*text));
  }
  if (const auto it = parsed.find("quantization_config"); it != parsed.end() && !it->is_null()) {
    if (!it->is_object()) return WrongType("quantization_config", "an object");
    if (!it->empty()) config.quant_method = QuantMethod(*it);
    const auto threshold = it->find("llm_int8_threshold");
    if (threshold != it->end() && !threshold->is_null()) {
      const double value = threshold->is_number() ? threshold->get<double>() : -1;
      if (!(value >= 0 && value <= FLT_MAX))
        return WrongType("llm_int8_threshold", "a finite number of at least 0");
      config.llm_int8_threshold = static_cast<float>(value);
    }
    const auto transforms = it->find("transform_config");
    config.has_transforms = transforms != it->end() && !transforms->empty();
  }
  return config;
}

}  // namespace octavo::quant
