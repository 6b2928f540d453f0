#include "octavo/output_folder.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "format/file.h"
#include "format/names.h"
#include "format/output_lock.h"
#include "format/quote.h"
#include "format/system_call.h"

namespace octavo::format {
namespace {

namespace fs = std::filesystem;

std::string WithoutSlashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

// What stands in the way of making `path`.
Status CheckPlace(const std::string& path, bool overwrite, OutputFolder::IsOurs is_ours) {
  const std::string name = BaseNameOf(path);
  if (name.empty() || name == "." || name == "..") {
    return Status(ErrorCode::kInvalidArgument, "the output \"" + path + "\" names no folder");
  }
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Status() : ErrnoStatus(errno, "cannot examine", path);
  }
  if (!S_ISDIR(info.st_mode)) {
    return Status(ErrorCode::kInvalidArgument, path + " is there and is no folder");
  }
  std::error_code error;
  bool is_empty = true;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    is_empty = false;
    const std::string entry = it->path().filename().string();
    std::error_code unknown;
    if (it->symlink_status(unknown).type() != fs::file_type::regular || !is_ours(entry)) {
      return Status(ErrorCode::kInvalidArgument,
                    path + " exists already and holds " + Quote(entry) +
                        ", which is not ours to replace; name another folder");
    }
  }
  if (error)
    return Status(ErrorCode::kIo, "cannot read the folder " + path + ": " + error.message());
  if (is_empty || overwrite) return {};
  return Status(ErrorCode::kAlreadyExists, path + " exists already and is not empty");
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? Status(ErrorCode::kIo, "cannot remove " + path + ": " + error.message())
               : Status();
}

// Both exist and change their names in one step. False where the file system cannot.
bool Exchange(const std::string& a, const std::string& b) {
  return RetryInterrupted([&] {
           return syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
         }) == 0;
}

bool Rename(const std::string& from, const std::string& to) {
  return RetryInterrupted([&] { return rename(from.c_str(), to.c_str()); }) == 0;
}

}  // namespace

struct OutputFolder::State {
  std::string path;
  std::string temporary;
  std::string old;  // where the file system cannot exchange
  bool overwrite = false;
  IsOurs is_ours = nullptr;
  std::optional<OutputLock> lock;

  ~State() {
    // Whatever the file system refuses now, the next run will remove.
    if (!temporary.empty()) (void)RemoveTree(temporary);
  }
};

Result<OutputFolder> OutputFolder::Create(const std::string& path, bool overwrite, IsOurs is_ours) {
  auto state = std::make_unique<State>();
  state->path = WithoutSlashes(path);
  state->overwrite = overwrite;
  state->is_ours = is_ours;
  OCTAVO_RETURN_IF_ERROR(CheckPlace(state->path, overwrite, is_ours));
  OCTAVO_ASSIGN_OR_RETURN(OutputLock lock, OutputLock::Acquire(state->path));
  state->lock.emplace(std::move(lock));
  state->old = SiblingPath(state->path, "old");
  const std::string temporary = SiblingPath(state->path, "folder");
  // Killed between two renames, an earlier run may have left the old folder without its name.
  struct stat info;
  if (lstat(state->path.c_str(), &info) != 0 && errno == ENOENT)
    (void)Rename(state->old, state->path);
  OCTAVO_RETURN_IF_ERROR(RemoveTree(state->old));
  OCTAVO_RETURN_IF_ERROR(RemoveTree(temporary));
  OCTAVO_RETURN_IF_ERROR(CheckPlace(state->path, overwrite, is_ours));
  if (mkdir(temporary.c_str(), 0777) != 0) return ErrnoStatus(errno, "cannot make", temporary);
  state->temporary = temporary;
  return OutputFolder(std::move(state));
}

OutputFolder::OutputFolder(std::unique_ptr<State> state) : state_(std::move(state)) {}
OutputFolder::OutputFolder(OutputFolder&&) noexcept = default;
OutputFolder& OutputFolder::operator=(OutputFolder&&) noexcept = default;
OutputFolder::~OutputFolder() = default;

std::string OutputFolder::PathOf(const std::string& file_name) const {
  return state_->temporary + "/" + file_name;
}

Status OutputFolder::Write(const std::string& file_name, std::span<const std::byte> content) const {
  if (const Status status = CheckBaseName(file_name); !status.ok()) {
    return Status(ErrorCode::kInvalidArgument, status.message());
  }
  OCTAVO_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(PathOf(file_name)));
  OCTAVO_RETURN_IF_ERROR(file.WriteAt(0, content));
  return file.Commit(/*overwrite=*/false);
}

Status OutputFolder::Commit() {
  State& state = *state_;
  OCTAVO_RETURN_IF_ERROR(SyncFolder(PathOf("")));
  OCTAVO_RETURN_IF_ERROR(CheckPlace(state.path, state.overwrite, state.is_ours));
  // rename replaces an empty folder, and nothing else.
  bool is_done = Rename(state.temporary, state.path);
  if (!is_done && (errno == ENOTEMPTY || errno == EEXIST) && state.overwrite) {
    if (Exchange(state.temporary, state.path)) {
      is_done = true;
      OCTAVO_RETURN_IF_ERROR(SyncFolder(state.path));
      (void)RemoveTree(state.temporary);  // the old content
    } else if (Rename(state.path, state.old)) {
      is_done = Rename(state.temporary, state.path);
      if (!is_done) {
        const int error = errno;
        (void)Rename(state.old, state.path);
        errno = error;
      }
    }
  }
  if (!is_done) return ErrnoStatus(errno, "cannot give the finished folder its name", state.path);
  state.temporary.clear();
  OCTAVO_RETURN_IF_ERROR(SyncFolder(state.path));
  (void)RemoveTree(state.old);
  return {};
}

}  // namespace octavo::format
