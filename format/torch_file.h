// A file that torch.save wrote: a zip archive of a pickle and storages. Tensors are read by positioned
// reads from the storages, which are never copied whole; the pickle is read as data (torch_pickle.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/result.h"
#include "octavo/safetensors.h"

namespace octavo::format {

// Const and thread-safe after Open.
class TorchFile {
 public:
  // Errors: kNotFound, kIo, kInvalidFile, naming the file: damaged archives, TorchScript, big-endian
  // files, an opcode or global that is not on the lists, a storage of another size than the pickle
  // says, a tensor that reaches outside its storage; files of torch before 1.6, with what to do.
  static Result<TorchFile> Open(const std::string& path);
  TorchFile(TorchFile&&) noexcept;
  TorchFile& operator=(TorchFile&&) noexcept;
  ~TorchFile();

  const std::string& path() const;
  uint64_t file_bytes() const;
  // By offset, then by name: tensors may share a storage or parts of it. Those whose elements do not lie one after the
  // other (a transposed view) have offsets behind the file's end, where ReadAt gathers them from the mapped file.
  const std::vector<SafetensorsEntry>& tensors() const;

  Status ReadAt(uint64_t offset, std::span<std::byte> out) const;
  // As Checkpoint has them.
  void Stream(bool drops_read) const;
  void Release(uint64_t offset) const;
  Status CheckUnchanged() const;

 private:
  struct State;
  explicit TorchFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Whether a file of this name and these first bytes is one for TorchFile.
bool LooksLikeTorch(std::string_view name, std::string_view start);

}  // namespace octavo::format
