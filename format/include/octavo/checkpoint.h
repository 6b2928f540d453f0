// A model to convert: which files hold which tensors, its configuration and its small companion files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "octavo/dtype.h"
#include "octavo/result.h"
#include "octavo/shape.h"

namespace octavo::format {

// Whether a Hugging Face folder of safetensors holds files of this name: config.json, tokenizer and generation files …
bool IsAssetName(std::string_view file_name);
// … or besides those the weights and their index.
bool IsModelFileName(std::string_view file_name);

struct SourceTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint32_t file = 0;    // index into files()
  uint64_t offset = 0;  // in that file
  uint64_t bytes = 0;
};

struct CheckpointFile {
  std::string path;   // as opened
  std::string name;   // base name
  uint64_t bytes = 0;
};

// Reads three forms: a .safetensors file or one of torch.save (.bin, .pt, .pth), an "….index.json" of such, or a Hugging
// Face folder (model.safetensors, or what model.safetensors.index.json names; without both pytorch_model.bin, or what its
// index names; other files beside them are no part of the model). Pickles are read as data, never executed.
// For the file forms, config.json and tokenizer files beside it are taken too. Shards named by an index must be
// base names inside its folder, regular files or symbolic links to such (a Hugging Face cache links into a sibling
// "blobs" folder); the index and the shards must name the same tensors, each once.
// Const and thread-safe after Open.
class Checkpoint {
 public:
  // Errors: kNotFound (nothing there, or a folder without weights: says what was looked for), kIo, kInvalidFile (names file, tensor and what is wrong).
  static Result<Checkpoint> Open(const std::string& path);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  std::string_view format() const;  // "safetensors" or "pytorch"
  const std::vector<CheckpointFile>& files() const;    // in the order of their names
  // Files in that order, tensors of each by offset: reading them in this order is one sequential pass. In torch.save's
  // files they may share bytes, and those that are views have offsets behind the file's end.
  const std::vector<SourceTensor>& tensors() const;
  const SourceTensor* Find(std::string_view name) const;

  // config.json's text, empty if there is none (at most 16 MiB).
  const std::string& config_json() const;
  // Names of config.json and of the tokenizer and generation files found, sorted: what a .8vo embeds.
  const std::vector<std::string>& assets() const;
  Result<std::string> ReadAsset(const std::string& name) const;
  // Things worth telling that are no errors, one sentence each (an index whose total_size is wrong, say).
  const std::vector<std::string>& warnings() const;

  // The files are read from front to back next: what comes is fetched ahead. With drops_read, what Release names leaves the
  // page cache, unless it was there before. Not thread-safe.
  void Stream(bool drops_read) const;
  Status ReadAt(uint32_t file, uint64_t offset, std::span<std::byte> out) const;
  // Bytes before `offset` are not read again.
  void Release(uint32_t file, uint64_t offset) const;
  // kIo if a file's size or modification time changed since Open.
  Status CheckUnchanged() const;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace octavo::format
