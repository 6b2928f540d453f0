// A folder that is being made: it appears under its name when it is complete and on disk.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/result.h"

namespace octavo::format {

// Files go into a hidden sibling (".NAME.octavo-folder") that takes the name at the end. Destroying an
// OutputFolder that was not committed removes everything; what a killed process left behind is
// removed by the next one for the same name. Single thread.
class OutputFolder {
 public:
  // What is at `path` may be nothing or an empty folder; with `overwrite` also a folder of files for
  // whose names `is_ours` holds, which are replaced together. Errors: kAlreadyExists, kNotFound (no
  // folder to make it in), kInvalidArgument (a folder that holds anything else, or no name), kIo
  // (also: another process is making this folder).
  using IsOurs = bool (*)(std::string_view file_name);
  static Result<OutputFolder> Create(const std::string& path, bool overwrite, IsOurs is_ours);
  OutputFolder(OutputFolder&&) noexcept;
  OutputFolder& operator=(OutputFolder&&) noexcept;
  ~OutputFolder();

  // Where a file of this base name is made until Commit.
  std::string PathOf(const std::string& file_name) const;
  // A small file. Errors: kInvalidArgument (no base name), kIo.
  Status Write(const std::string& file_name, std::span<const std::byte> content) const;
  // Every file in it must be on disk. Errors: kAlreadyExists (what appeared meanwhile), kIo.
  Status Commit();

 private:
  struct State;
  explicit OutputFolder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace octavo::format
