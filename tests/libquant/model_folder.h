// Small checkpoints made for a test, and a look into what became of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "octavo/checkpoint.h"
#include "octavo/convert.h"
#include "octavo/half.h"
#include "octavo/reader.h"
#include "octavo/safetensors.h"
#include "tests/testing/random.h"
#include "tests/testing/temp_dir.h"

namespace octavo::quant::testing {

// The bits of a float in a tensor of `dtype` (F16, BF16 or F32).
inline std::vector<std::byte> Encode(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * DTypeBytes(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(&bytes[i * 4], &values[i], 4);
    } else {
      const uint16_t bits = dtype == DType::kF16 ? kernels::FloatToHalf(values[i])
                                                 : kernels::FloatToBFloat16(values[i]);
      std::memcpy(&bytes[i * 2], &bits, 2);
    }
  }
  return bytes;
}

inline std::vector<float> Decode(DType dtype, std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / DTypeBytes(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(&values[i], &bytes[i * 4], 4);
    } else {
      uint16_t bits;
      std::memcpy(&bits, &bytes[i * 2], 2);
      values[i] =
          dtype == DType::kF16 ? kernels::HalfToFloat(bits) : kernels::BFloat16ToFloat(bits);
    }
  }
  return values;
}

// Two kept columns of an up_proj with 333 in_features.
inline constexpr char kUpProjProfile[] = R"({"octavo_profile": 1, "modules": {
  "model.layers.0.mlp.up_proj": {"in_features": 333, "features": [{"index": 3, "max_abs": 9},
                                                                 {"index": 311, "max_abs": 8}]}}})";

inline std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T>
std::vector<T> As(const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

class ModelFolder {
 public:
  ModelFolder() : random_(octavo::testing::TestSeed()) {
    std::filesystem::create_directory(path());
  }

  std::string path() const { return dir_.File("model"); }
  std::string File(const std::string& name) const { return dir_.File(name); }
  const octavo::testing::TempDir& dir() const { return dir_; }

  // Normally distributed values.
  ModelFolder& Add(const std::string& name, Shape shape, DType dtype = DType::kF16) {
    std::vector<float> values(*shape.NumElements());
    for (float& value : values) value = random_.Normal(0.05f);
    return AddValues(name, shape, dtype, values);
  }
  ModelFolder& AddValues(const std::string& name, Shape shape, DType dtype,
                         const std::vector<float>& values) {
    return AddBytes(name, shape, dtype, Encode(dtype, values));
  }
  ModelFolder& AddBytes(const std::string& name, Shape shape, DType dtype,
                        std::vector<std::byte> bytes) {
    data_.push_back(std::move(bytes));
    tensors_.push_back({name, dtype, shape, {}});
    return *this;
  }
  std::vector<std::byte>& Bytes(const std::string& name) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name == name) return data_[i];
    }
    ADD_FAILURE() << name;
    return data_.front();
  }
  // Writes model.safetensors and config.json; the folder's path.
  std::string Write(const std::string& config_json) {
    for (size_t i = 0; i < tensors_.size(); ++i) tensors_[i].data = data_[i];
    const Status status =
        format::WriteSafetensors(path() + "/model.safetensors", tensors_, {{"format", "pt"}}, true);
    EXPECT_TRUE(status.ok()) << status.message();
    dir_.Write("model/config.json", config_json);
    return path();
  }

 private:
  octavo::testing::TempDir dir_;
  octavo::testing::Random random_;
  std::vector<format::SafetensorsTensor> tensors_;
  std::vector<std::vector<std::byte>> data_;
};

inline constexpr char kLlama[] =
    R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
        "tie_word_embeddings": false})";
inline constexpr char kTiedLlama[] =
    R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
        "tie_word_embeddings": true})";
inline constexpr char kGpt2[] = R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})";

// An opened output, with failures reported where it is used.
class Output {
 public:
  explicit Output(const std::string& path) : reader_(format::Reader::Open(path, {.verify = true})) {
    EXPECT_TRUE(reader_.ok()) << reader_.status().message();
  }
  bool ok() const { return reader_.ok(); }
  const format::Reader& reader() const { return *reader_; }
  const format::Module& module(const std::string& name) const {
    const format::Module* found = reader_->FindModule(name);
    if (found == nullptr) ADD_FAILURE() << "no module " << name;
    static const format::Module kNone;
    return found == nullptr ? kNone : *found;
  }
  std::vector<std::byte> Read(const std::string& tensor) const {
    const format::TensorEntry* entry = reader_->FindTensor(tensor);
    if (entry == nullptr) {
      ADD_FAILURE() << "no tensor " << tensor;
      return {};
    }
    Result<std::vector<std::byte>> bytes = reader_->ReadAll(*entry);
    EXPECT_TRUE(bytes.ok()) << bytes.status().message();
    return bytes.ok() ? *bytes : std::vector<std::byte>();
  }

 private:
  Result<format::Reader> reader_;
};

inline std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace octavo::quant::testing
