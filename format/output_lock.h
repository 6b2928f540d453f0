// One writer for each output: a lock beside it that says who holds it (docs/reliability.md).
#pragma once

#include <string>
#include <string_view>

#include "format/file.h"
#include "octavo/result.h"

namespace octavo::format {

// The hidden file beside an output: ("dir/model.8vo", "journal") ->
// "dir/.model.8vo.octavo-journal".
std::string SiblingPath(const std::string& path, std::string_view what);

// Held until it is destroyed or the process ends, however it ends. Move-only.
class OutputLock {
 public:
  // Errors: kNotFound (no such folder), kIo (another process holds it: says which; or the system
  // refuses).
  static Result<OutputLock> Acquire(const std::string& path);
  OutputLock(OutputLock&& other) noexcept = default;
  OutputLock& operator=(OutputLock&&) = delete;
  ~OutputLock() { Release(); }
  void Release();

 private:
  OutputLock() = default;
  std::string lock_path_;
  UniqueFd fd_;
};

}  // namespace octavo::format
