// Files as values: descriptors that close themselves, read-only mappings, positioned reads and
// writes that finish or say why, and an output that appears under its name only when it is complete
// and on disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "octavo/result.h"

namespace octavo::format {

// Owns a file descriptor. Move-only.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { Reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release();
  void Reset();

 private:
  int fd_ = -1;
};

// "No space left on device" and the like as kIo (kNotFound for ENOENT), with what was being done
// and to which path.
Status ErrnoStatus(int error, const std::string& doing, const std::string& path);

// What is behind the last slash, and what is before it with the slash itself.
std::string BaseNameOf(const std::string& path);
std::string FolderPrefix(const std::string& path);
// Whether a file can be made under this name: it has one, and what is there, if anything, is a
// regular file. Errors: kInvalidArgument, kIo.
Status CheckOutputName(const std::string& path);
// Makes names in the folder of `path` durable. Errors: kNotFound, kIo.
Status SyncFolder(const std::string& path);

// A regular file opened for positioned reads. Thread-safe after Open.
class InputFile {
 public:
  // Errors: kNotFound, kIo (a folder, a FIFO or a device included).
  static Result<InputFile> Open(const std::string& path);
  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  // Fills `out` from `offset`. Errors: kIo; also where the file ended early ("shrank while it was
  // read").
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const;
  // Whether size and modification time are still those of Open. Errors: kIo.
  Status CheckUnchanged() const;
  int fd() const { return fd_.get(); }

 private:
  std::string path_;
  UniqueFd fd_;
  uint64_t size_ = 0;
  int64_t modified_ns_ = 0;
};

// A whole file mapped read-only; empty files have an empty span. Move-only.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

// A file that is being made: a locked temporary sibling (".NAME.octavo-XXXXXX"), renamed over the
// final name by Commit. Removes the temporary if it is destroyed before. Create first removes
// temporaries of the same name whose writer no longer runs. The mode follows the umask, as for any
// new file.
class AtomicFile {
 public:
  // `path`: final name. Errors: kNotFound (no such folder), kIo (also: what is there is no regular
  // file), kInvalidArgument (no name).
  static Result<AtomicFile> Create(const std::string& path);
  AtomicFile() = default;  // no file
  // The same with a temporary of this name, for who holds a lock of its own (output_lock.h): a new
  // one, or what an earlier process left, cut off after `keep_bytes`. Errors: kNotFound, kIo, also
  // if there are fewer bytes.
  static Result<AtomicFile> CreateAs(const std::string& path, const std::string& temporary_path);
  static Result<AtomicFile> Reopen(const std::string& path, const std::string& temporary_path,
                                   uint64_t keep_bytes);
  // … or a file that is complete as it is.
  static Result<AtomicFile> Adopt(const std::string& path, const std::string& temporary_path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();
  // Writes all bytes at `offset`; short writes are continued. Thread-safe.
  Status WriteAt(uint64_t offset, std::span<const std::byte> bytes) const;
  Status Sync() const;
  // Makes the file at least so long, zeros at its end. Thread-safe beside WriteAt behind `bytes`.
  Status CoverUpTo(uint64_t bytes) const;
  // Of what is needed to read the bytes again alone.
  Status SyncData() const;
  // Changes the final name; before Commit.
  void SetFinalPath(std::string path) { final_path_ = std::move(path); }
  const std::string& final_path() const { return final_path_; }
  int fd() const { return fd_.get(); }
  const std::string& temporary_path() const { return temporary_path_; }
  // The temporary stays when this is destroyed.
  void Keep() { temporary_path_.clear(); }
  // fsync, rename, fsync of the folder. With overwrite false an existing file is kAlreadyExists.
  Status Commit(bool overwrite);

 private:
  void Discard();
  std::string final_path_;
  std::string temporary_path_;
  UniqueFd fd_;
};

// Reads a small file whole. Errors: kNotFound, kIo, kLimit if it is larger than max_bytes.
Result<std::string> ReadSmallFile(const std::string& path, uint64_t max_bytes);

}  // namespace octavo::format
