#include "format/commit_plan.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "format/file.h"
#include "format/output_lock.h"
#include "format/system_call.h"
#include "octavo/byte_stream.h"

namespace octavo::format {
namespace {

std::string Beside(const std::string& path, const std::string& name) {
  return FolderPrefix(path) + name;
}

uint64_t InodeOf(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

// "lock" is the caller's own; what AtomicFile makes has a random suffix of six and locks of its
// own.
bool IsWritersSibling(std::string_view what) {
  const bool is_shard =
      what.size() == 5 && std::ranges::all_of(what, [](char c) { return c >= '0' && c <= '9'; });
  return is_shard || what == "index" || what == "journal";
}

}  // namespace

std::vector<std::byte> CommitPlan::Encode() const {
  ByteWriter out;
  out.Put<uint64_t>(renames.size());
  for (const Rename& rename : renames) {
    out.PutString(rename.temporary);
    out.PutString(rename.final_name);
    out.Put<uint8_t>(rename.was_there);
  }
  out.PutVector(header);
  out.Put<uint64_t>(obsolete.size());
  for (const std::string& name : obsolete) out.PutString(name);
  return out.Take();
}

std::optional<CommitPlan> CommitPlan::Decode(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  CommitPlan plan;
  for (auto count = in.Get<uint64_t>(); count > 0 && in.ok(); --count) {
    Rename rename;
    rename.temporary = in.GetString();
    rename.final_name = in.GetString();
    rename.was_there = in.Get<uint8_t>() != 0;
    plan.renames.push_back(std::move(rename));
  }
  plan.header = in.GetVector<std::byte>();
  for (auto count = in.Get<uint64_t>(); count > 0 && in.ok(); --count) {
    plan.obsolete.push_back(in.GetString());
  }
  if (!in.AtEnd() || plan.renames.empty()) return std::nullopt;
  return plan;
}

Result<bool> IsCommitted(const std::string& path, const CommitPlan& plan) {
  const Result<InputFile> output = InputFile::Open(path);
  if (output.code() == ErrorCode::kNotFound) return false;
  if (!output.ok()) return output.status();
  std::vector<std::byte> header(plan.header.size());
  if (output->size() < header.size()) return false;
  OCTAVO_RETURN_IF_ERROR(output->ReadAt(0, header));
  return header == plan.header;
}

bool IsWhole(const std::string& path, const CommitPlan& plan) {
  return std::ranges::all_of(plan.renames, [&](const CommitPlan::Rename& step) {
    const bool is_output = &step == &plan.renames.back();
    return InodeOf(Beside(path, step.temporary)) != 0 ||
           (!is_output && InodeOf(Beside(path, step.final_name)) != 0);
  });
}

Status CompleteCommit(const std::string& path, const CommitPlan& plan, bool overwrite) {
  for (const CommitPlan::Rename& step : plan.renames) {
    const std::string from = Beside(path, step.temporary);
    const std::string to = Beside(path, step.final_name);
    const uint64_t inode = InodeOf(from);
    if (inode == 0) continue;  // renamed already
    const bool is_output = &step == &plan.renames.back();
    if (is_output && !overwrite && InodeOf(to) != 0 && InodeOf(to) != inode) {
      return Status(ErrorCode::kAlreadyExists, path + " exists already");
    }
    if (RetryInterrupted([&] { return rename(from.c_str(), to.c_str()); }) != 0) {
      return ErrnoStatus(errno, "cannot rename the finished file to", to);
    }
    unlink(from.c_str());  // rename leaves it where both are one file
  }
  return SyncFolder(path);
}

void UndoCommit(const std::string& path, const CommitPlan& plan, Undo how) {
  for (const CommitPlan::Rename& step : plan.renames) {
    const std::string temporary = Beside(path, step.temporary);
    const std::string final_path = Beside(path, step.final_name);
    if (InodeOf(temporary) != 0 || step.was_there) continue;
    if (how == Undo::kRename) (void)rename(final_path.c_str(), temporary.c_str());
    if (how == Undo::kRemove) unlink(final_path.c_str());
  }
}

void RemoveBeside(const std::string& path, const std::vector<std::string>& names) {
  for (const std::string& name : names) unlink(Beside(path, name).c_str());
}

void RemoveLeftovers(const std::string& path, const std::vector<std::string>& kept) {
  const std::string prefix = BaseNameOf(SiblingPath(path, ""));
  const std::string folder = Beside(path, "");
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder.empty() ? "." : folder, error), end;
       !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(prefix) || !IsWritersSibling(name.substr(prefix.size()))) continue;
    if (std::ranges::find(kept, name) == kept.end()) names.push_back(name);
  }
  const auto journal = std::ranges::find(names, prefix + "journal");
  if (journal != names.end()) {
    unlink(Beside(path, *journal).c_str());
    // If this fails the order on disk is the file system's; most keep it.
    (void)SyncFolder(path).ok();
  }
  RemoveBeside(path, names);
}

}  // namespace octavo::format
