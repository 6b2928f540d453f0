#include "format/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "format/digest.h"
#include "format/system_call.h"
#include "octavo/byte_stream.h"

namespace octavo::format {
namespace {

constexpr std::string_view kMagic = "octavo journal 1\n";
constexpr uint64_t kMaxJournalBytes = uint64_t{16} << 30;
constexpr size_t kHeadBytes = 16;
constexpr size_t kDigestBytes = 8;

// The record at the start of `bytes`, if it is whole; its size in *record_bytes.
bool ParseRecord(std::span<const std::byte> bytes, JournalRecord* record, uint64_t* record_bytes) {
  if (bytes.size() < kHeadBytes + kDigestBytes) return false;
  ByteReader head(bytes.first(kHeadBytes));
  record->kind = head.Get<uint32_t>();
  head.Get<uint32_t>();
  const auto content_bytes = head.Get<uint64_t>();
  if (content_bytes > bytes.size() - kHeadBytes - kDigestBytes) return false;
  const auto covered = bytes.first(kHeadBytes + content_bytes);
  ByteReader digest(bytes.subspan(covered.size(), kDigestBytes));
  if (digest.Get<uint64_t>() != Xxh3(covered)) return false;
  record->content.assign(covered.begin() + kHeadBytes, covered.end());
  *record_bytes = covered.size() + kDigestBytes;
  return true;
}

Result<std::vector<JournalRecord>> Parse(const std::string& path, uint64_t* end) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxJournalBytes));
  *end = text.size();
  if (kMagic.starts_with(text)) return std::vector<JournalRecord>();  // it was just begun
  if (!text.starts_with(kMagic)) {
    return Status(ErrorCode::kInvalidFile, path + " is no journal of this version of Octavo");
  }
  std::vector<JournalRecord> records;
  std::span<const std::byte> left = std::as_bytes(std::span(text)).subspan(kMagic.size());
  JournalRecord record;
  uint64_t record_bytes = 0;
  while (ParseRecord(left, &record, &record_bytes)) {
    records.push_back(std::move(record));
    left = left.subspan(record_bytes);
  }
  *end = text.size() - left.size();
  return records;
}

Status WriteAt(int fd, const std::string& path, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = RetryInterrupted(
        [&] { return pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (put <= 0) return ErrnoStatus(put < 0 ? errno : ENOSPC, "cannot write", path);
    offset += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

}  // namespace

Result<Journal> Journal::Create(const std::string& path) {
  Journal journal;
  journal.path_ = path;
  journal.fd_ = UniqueFd(RetryInterrupted([&] {
    return open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  }));
  if (!journal.fd_) return ErrnoStatus(errno, "cannot create", path);
  OCTAVO_RETURN_IF_ERROR(WriteAt(journal.fd_.get(), path, 0, std::as_bytes(std::span(kMagic))));
  journal.end_ = kMagic.size();
  return journal;
}

Result<std::vector<JournalRecord>> Journal::Read(const std::string& path) {
  uint64_t end = 0;
  return Parse(path, &end);
}

Result<Journal> Journal::Open(const std::string& path, std::vector<JournalRecord>* records) {
  Journal journal;
  journal.path_ = path;
  OCTAVO_ASSIGN_OR_RETURN(*records, Parse(path, &journal.end_));
  journal.fd_ = UniqueFd(
      RetryInterrupted([&] { return open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW); }));
  if (!journal.fd_) return ErrnoStatus(errno, "cannot open", path);
  const int fd = journal.fd_.get();
  const auto end = static_cast<off_t>(journal.end_);
  if (RetryInterrupted([&] { return ftruncate(fd, end); }) != 0) {
    return ErrnoStatus(errno, "cannot shorten", path);
  }
  return journal;
}

Status Journal::Append(uint32_t kind, std::span<const std::byte> content) {
  ByteWriter record;
  record.Put<uint32_t>(kind);
  record.Put<uint32_t>(0);
  record.PutVector(std::vector<std::byte>(content.begin(), content.end()));
  record.Put<uint64_t>(Xxh3(record.bytes()));
  OCTAVO_RETURN_IF_ERROR(WriteAt(fd_.get(), path_, end_, record.bytes()));
  if (RetryInterrupted([&] { return fdatasync(fd_.get()); }) != 0) {
    return ErrnoStatus(errno, "cannot sync", path_);
  }
  end_ += record.bytes().size();
  return {};
}

}  // namespace octavo::format
