// How a set of finished files takes its names: written down first, so that the next run can
// complete or undo what a killed process left halfway.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "octavo/result.h"

namespace octavo::format {

// Base names in the output's folder. The last rename, of the output itself, is the commit.
struct CommitPlan {
  struct Rename {
    std::string temporary;
    std::string final_name;
    bool was_there = false;  // something of the final name was there before
  };
  std::vector<Rename> renames;
  std::vector<std::byte> header;      // of the output: no other content has the same
  std::vector<std::string> obsolete;  // shards of the old output, to be removed after the commit

  std::vector<std::byte> Encode() const;
  static std::optional<CommitPlan> Decode(std::span<const std::byte> bytes);
};

// Whether the last rename was made. `path`: the output. Errors: kIo, if it cannot be read.
Result<bool> IsCommitted(const std::string& path, const CommitPlan& plan);
// Whether every file is there, under the one name or the other.
bool IsWhole(const std::string& path, const CommitPlan& plan);
// Makes the renames that are missing. Errors: kAlreadyExists (without overwrite, if an output
// appeared meanwhile), kIo.
Status CompleteCommit(const std::string& path, const CommitPlan& plan, bool overwrite);
// Gives the files that were renamed, except what was there before, their temporary names back, or
// removes them. Requires: not committed.
enum class Undo { kRename, kRemove };
void UndoCommit(const std::string& path, const CommitPlan& plan, Undo how);

// Removes files beside `path`, as far as that goes: an old model's shards are of no use any more.
void RemoveBeside(const std::string& path, const std::vector<std::string>& names);
// Removes what interrupted writers of `path` left, except the siblings (base names) in `kept`: a
// journal first, so that a plan never outlives its files. Requires: the output's lock.
void RemoveLeftovers(const std::string& path, const std::vector<std::string>& kept);

}  // namespace octavo::format
