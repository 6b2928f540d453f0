#include "format/output_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "format/system_call.h"

namespace octavo::format {
namespace {

std::string ThisProcess() {
  std::array<char, 256> host = {};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return "process " + std::to_string(getpid()) + " on " + (host[0] == '\0' ? "?" : host.data());
}

// What the holder wrote about itself; it may not have come to that yet.
std::string Holder(int fd) {
  std::array<char, 300> text = {};
  const ssize_t got = RetryInterrupted([&] { return pread(fd, text.data(), text.size() - 1, 0); });
  for (ssize_t i = 0; i < got; ++i) {
    if (static_cast<unsigned char>(text[i]) < ' ') text[i] = '\0';
  }
  return got <= 0 || text[0] == '\0' ? "another process" : text.data();
}

// Some network file systems have no locks: there nothing keeps two writers apart.
bool HasNoLocks(int error) { return error == ENOSYS || error == EOPNOTSUPP || error == ENOLCK; }

}  // namespace

std::string SiblingPath(const std::string& path, std::string_view what) {
  return FolderPrefix(path) + "." + BaseNameOf(path) + ".octavo-" + std::string(what);
}

Result<OutputLock> OutputLock::Acquire(const std::string& path) {
  OutputLock lock;
  const std::string lock_path = SiblingPath(path, "lock");
  for (;;) {
    lock.fd_ = UniqueFd(RetryInterrupted(
        [&] { return open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666); }));
    if (!lock.fd_) return ErrnoStatus(errno, "cannot create a file beside", path);
    const int fd = lock.fd_.get();
    if (RetryInterrupted([&] { return flock(fd, LOCK_EX | LOCK_NB); }) != 0 && !HasNoLocks(errno)) {
      if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "cannot lock", path);
      return Status(ErrorCode::kIo, path + " is being written by " + Holder(fd) +
                                        "; wait until it is done, or name another output");
    }
    // Whoever held the lock before may have removed the file between our open and our lock.
    struct stat locked, named;
    if (fstat(fd, &locked) == 0 && stat(lock_path.c_str(), &named) == 0 &&
        locked.st_ino == named.st_ino && locked.st_dev == named.st_dev) {
      break;
    }
  }
  lock.lock_path_ = lock_path;
  const std::string holder = ThisProcess() + "\n";
  const int fd = lock.fd_.get();
  const bool is_named =
      RetryInterrupted([&] { return ftruncate(fd, 0); }) == 0 &&
      RetryInterrupted([&] { return pwrite(fd, holder.data(), holder.size(), 0); }) > 0;
  if (!is_named) return ErrnoStatus(errno, "cannot write the lock of", path);
  return lock;
}

void OutputLock::Release() {
  if (fd_) unlink(lock_path_.c_str());
  fd_.Reset();
}

}  // namespace octavo::format
