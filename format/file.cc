#include "format/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "format/system_call.h"

namespace octavo::format {
namespace {

// The kernel transfers at most 0x7ffff000 bytes in one call.
constexpr size_t kMaxTransfer = size_t{1} << 30;
constexpr std::string_view kTemporaryTag = ".octavo-";

std::string FolderOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

int64_t ModifiedNs(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

// Opens a regular file. O_NONBLOCK keeps a FIFO from hanging the open.
Result<UniqueFd> OpenRegular(const std::string& path, struct stat* info) {
  UniqueFd fd(
      RetryInterrupted([&] { return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
  if (!fd) return ErrnoStatus(errno, "cannot open", path);
  if (fstat(fd.get(), info) != 0) return ErrnoStatus(errno, "cannot examine", path);
  if (S_ISDIR(info->st_mode))
    return Status(ErrorCode::kIo, "cannot open " + path + ": it is a folder");
  if (!S_ISREG(info->st_mode)) {
    return Status(ErrorCode::kIo, "cannot open " + path + ": not a regular file");
  }
  return fd;
}

// Removes temporaries of `path` that no running process holds the lock of.
void RemoveStaleTemporaries(const std::string& path) {
  const std::string prefix = "." + BaseNameOf(path) + std::string(kTemporaryTag);
  std::error_code error;
  for (std::filesystem::directory_iterator it(FolderOf(path), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.size() != prefix.size() + 6 || name.compare(0, prefix.size(), prefix) != 0) continue;
    const UniqueFd fd(open(it->path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd && flock(fd.get(), LOCK_EX | LOCK_NB) == 0) unlink(it->path().c_str());
  }
}

std::string RandomSuffix() {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device random;
  std::string suffix(6, ' ');
  for (char& c : suffix) c = kLetters[random() % kLetters.size()];
  return suffix;
}

}  // namespace

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = other.Release();
  }
  return *this;
}

int UniqueFd::Release() { return std::exchange(fd_, -1); }

void UniqueFd::Reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

std::string BaseNameOf(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }
std::string FolderPrefix(const std::string& path) {
  return path.substr(0, path.find_last_of('/') + 1);
}

Status ErrnoStatus(int error, const std::string& doing, const std::string& path) {
  const ErrorCode code = error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
  return Status(code, doing + " " + path + ": " + std::generic_category().message(error));
}

Status CheckOutputName(const std::string& path) {
  if (BaseNameOf(path).empty()) {
    return Status(ErrorCode::kInvalidArgument, "the output \"" + path + "\" names no file");
  }
  // rename would replace a device or a FIFO by a file, and a folder not at all.
  struct stat target;
  if (stat(path.c_str(), &target) == 0 && !S_ISREG(target.st_mode)) {
    return Status(
        ErrorCode::kIo,
        path + (S_ISDIR(target.st_mode) ? " is a folder" : " is there and is no regular file"));
  }
  return {};
}

Status SyncFolder(const std::string& path) {
  const std::string folder = FolderOf(path);
  const UniqueFd fd(
      RetryInterrupted([&] { return open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!fd) return ErrnoStatus(errno, "cannot open the folder", folder);
  // Some file systems cannot sync a folder; they say EINVAL.
  if (RetryInterrupted([&] { return fsync(fd.get()); }) != 0 && errno != EINVAL) {
    return ErrnoStatus(errno, "cannot sync the folder", folder);
  }
  return {};
}

// ---- InputFile ----

Result<InputFile> InputFile::Open(const std::string& path) {
  struct stat info;
  OCTAVO_ASSIGN_OR_RETURN(UniqueFd fd, OpenRegular(path, &info));
  InputFile file;
  file.path_ = path;
  file.fd_ = std::move(fd);
  file.size_ = static_cast<uint64_t>(info.st_size);
  file.modified_ns_ = ModifiedNs(info);
  return file;
}

Status InputFile::ReadAt(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const size_t count = std::min(out.size() - done, kMaxTransfer);
    const ssize_t got = RetryInterrupted([&] {
      return pread(fd_.get(), out.data() + done, count, static_cast<off_t>(offset + done));
    });
    if (got < 0) return ErrnoStatus(errno, "cannot read", path_);
    if (got == 0) {
      return Status(ErrorCode::kIo,
                    "cannot read " + path_ + ": it ends at " + std::to_string(offset + done) +
                        " of " + std::to_string(size_) + " bytes; it shrank while it was read");
    }
    done += static_cast<size_t>(got);
  }
  return {};
}

Status InputFile::CheckUnchanged() const {
  struct stat info;
  if (fstat(fd_.get(), &info) != 0) return ErrnoStatus(errno, "cannot examine", path_);
  if (static_cast<uint64_t>(info.st_size) != size_ || ModifiedNs(info) != modified_ns_) {
    return Status(ErrorCode::kIo,
                  path_ + " changed while it was read; run again when it is at rest");
  }
  return {};
}

// ---- MappedFile ----

Result<MappedFile> MappedFile::Open(const std::string& path) {
  struct stat info;
  OCTAVO_ASSIGN_OR_RETURN(UniqueFd fd, OpenRegular(path, &info));
  MappedFile file;
  if (info.st_size == 0) return file;
  const size_t size = static_cast<size_t>(info.st_size);
  void* address = MAP_FAILED;
  do {
    address = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  } while (address == MAP_FAILED && errno == EINTR);
  if (address == MAP_FAILED) return ErrnoStatus(errno, "cannot map", path);
  file.bytes_ = {static_cast<const std::byte*>(address), size};
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

// ---- AtomicFile ----

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  OCTAVO_RETURN_IF_ERROR(CheckOutputName(path));
  RemoveStaleTemporaries(path);
  const std::string folder = FolderOf(path) == "/" ? "/" : FolderOf(path) + "/";
  for (int attempt = 0; attempt < 100; ++attempt) {
    AtomicFile file;
    file.final_path_ = path;
    file.temporary_path_ =
        folder + "." + BaseNameOf(path) + std::string(kTemporaryTag) + RandomSuffix();
    const char* name = file.temporary_path_.c_str();
    file.fd_ = UniqueFd(
        RetryInterrupted([&] { return open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }));
    if (!file.fd_) {
      const int error = errno;
      file.temporary_path_.clear();
      if (error == EEXIST) continue;
      return ErrnoStatus(error, "cannot create a file in", folder);
    }
    // Another process may take the new file for a stale one before it is locked; then it is made
    // again.
    struct stat info;
    const int fd = file.fd_.get();
    if (RetryInterrupted([&] { return flock(fd, LOCK_EX | LOCK_NB); }) == 0 &&
        fstat(fd, &info) == 0 && info.st_nlink == 1) {
      return file;
    }
  }
  return Status(ErrorCode::kIo, "cannot create a temporary file in " + folder);
}

Result<AtomicFile> AtomicFile::CreateAs(const std::string& path,
                                        const std::string& temporary_path) {
  OCTAVO_RETURN_IF_ERROR(CheckOutputName(path));
  AtomicFile file;
  file.fd_ = UniqueFd(RetryInterrupted([&] {
    return open(temporary_path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  }));
  if (!file.fd_) return ErrnoStatus(errno, "cannot create", temporary_path);
  file.final_path_ = path;
  file.temporary_path_ = temporary_path;
  return file;
}

Result<AtomicFile> AtomicFile::Adopt(const std::string& path, const std::string& temporary_path) {
  AtomicFile file;
  file.fd_ = UniqueFd(RetryInterrupted(
      [&] { return open(temporary_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW); }));
  if (!file.fd_) return ErrnoStatus(errno, "cannot open", temporary_path);
  file.final_path_ = path;
  file.temporary_path_ = temporary_path;
  return file;
}

Result<AtomicFile> AtomicFile::Reopen(const std::string& path, const std::string& temporary_path,
                                      uint64_t keep_bytes) {
  OCTAVO_ASSIGN_OR_RETURN(AtomicFile file, Adopt(path, temporary_path));
  file.Keep();  // on errors it stays as it was
  const int fd = file.fd_.get();
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "cannot examine", temporary_path);
  if (static_cast<uint64_t>(info.st_size) < keep_bytes) {
    return Status(ErrorCode::kIo, temporary_path + " has " + std::to_string(info.st_size) +
                                      " bytes where " + std::to_string(keep_bytes) +
                                      " were written; it cannot be used");
  }
  // Whatever was written further on may end in the middle of a chunk; padding must read as zeros.
  if (RetryInterrupted([&] { return ftruncate(fd, static_cast<off_t>(keep_bytes)); }) != 0) {
    return ErrnoStatus(errno, "cannot shorten", temporary_path);
  }
  file.temporary_path_ = temporary_path;
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : final_path_(std::move(other.final_path_)),
      temporary_path_(std::exchange(other.temporary_path_, {})),
      fd_(std::move(other.fd_)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this != &other) {
    Discard();
    final_path_ = std::move(other.final_path_);
    temporary_path_ = std::exchange(other.temporary_path_, {});
    fd_ = std::move(other.fd_);
  }
  return *this;
}

AtomicFile::~AtomicFile() { Discard(); }

void AtomicFile::Discard() {
  if (!temporary_path_.empty()) unlink(temporary_path_.c_str());
  temporary_path_.clear();
  fd_.Reset();
}

Status AtomicFile::WriteAt(uint64_t offset, std::span<const std::byte> bytes) const {
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t count = std::min(bytes.size() - done, kMaxTransfer);
    const ssize_t put = RetryInterrupted([&] {
      return pwrite(fd_.get(), bytes.data() + done, count, static_cast<off_t>(offset + done));
    });
    if (put < 0) return ErrnoStatus(errno, "cannot write", final_path_);
    if (put == 0) return ErrnoStatus(ENOSPC, "cannot write", final_path_);
    done += static_cast<size_t>(put);
  }
  return {};
}

Status AtomicFile::Sync() const {
  if (RetryInterrupted([&] { return fsync(fd_.get()); }) != 0) {
    return ErrnoStatus(errno, "cannot sync", final_path_);
  }
  return {};
}

Status AtomicFile::CoverUpTo(uint64_t bytes) const {
  struct stat info;
  if (fstat(fd_.get(), &info) != 0) return ErrnoStatus(errno, "cannot examine", final_path_);
  if (static_cast<uint64_t>(info.st_size) >= bytes) return {};
  // Not ftruncate, which could cut off what another thread writes meanwhile.
  constexpr std::byte kZero{0};
  return WriteAt(bytes - 1, {&kZero, 1});
}

Status AtomicFile::SyncData() const {
  if (RetryInterrupted([&] { return fdatasync(fd_.get()); }) != 0) {
    return ErrnoStatus(errno, "cannot sync", final_path_);
  }
  return {};
}

Status AtomicFile::Commit(bool overwrite) {
  OCTAVO_RETURN_IF_ERROR(Sync());
  if (overwrite) {
    if (RetryInterrupted([&] { return rename(temporary_path_.c_str(), final_path_.c_str()); }) !=
        0) {
      return ErrnoStatus(errno, "cannot rename the finished file to", final_path_);
    }
  } else {
    // link refuses an existing name, which rename would replace; two writers cannot both win.
    if (RetryInterrupted([&] { return link(temporary_path_.c_str(), final_path_.c_str()); }) != 0) {
      if (errno == EEXIST) {
        return Status(ErrorCode::kAlreadyExists, final_path_ + " exists already");
      }
      return ErrnoStatus(errno, "cannot rename the finished file to", final_path_);
    }
    unlink(temporary_path_.c_str());
  }
  temporary_path_.clear();
  fd_.Reset();
  return SyncFolder(final_path_);
}

// ---- ReadSmallFile ----

Result<std::string> ReadSmallFile(const std::string& path, uint64_t max_bytes) {
  OCTAVO_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  if (file.size() > max_bytes) {
    return Status(ErrorCode::kLimit, path + " has " + std::to_string(file.size()) +
                                         " bytes; at most " + std::to_string(max_bytes) +
                                         " are read");
  }
  std::string text(file.size(), '\0');
  OCTAVO_RETURN_IF_ERROR(file.ReadAt(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace octavo::format
