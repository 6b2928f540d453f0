#include "format/torch_zip.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_set>

#include "format/names.h"
#include "format/quote.h"

namespace octavo::format {
namespace {

constexpr uint64_t kMaxEntries = 1'000'000;
constexpr uint64_t kMaxDirectoryBytes = uint64_t{256} << 20;
constexpr uint64_t kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20, kCentralBytes = 46,
                   kLocalBytes = 30;
constexpr uint64_t kMaxCommentBytes = 65'535;
constexpr uint32_t kNot32 = 0xffffffffu;  // the value is in a zip64 field
constexpr uint16_t kZip64Extra = 1;
constexpr uint16_t kEncrypted = 1, kPatched = 1 << 5, kStronglyEncrypted = 1 << 6,
                   kMasked = 1 << 13;

Status Invalid(std::string what) { return Status(ErrorCode::kInvalidFile, std::move(what)); }

// Little-endian numbers at places that were checked.
template <typename T>
T Load(std::string_view bytes, size_t at) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) {
    value = static_cast<T>(value << 8 | static_cast<uint8_t>(bytes[at + i]));
  }
  return value;
}

Result<std::string> ReadText(const InputFile& file, uint64_t offset, uint64_t bytes) {
  std::string text(bytes, '\0');
  OCTAVO_RETURN_IF_ERROR(file.ReadAt(offset, std::as_writable_bytes(std::span(text))));
  return text;
}

struct Directory {
  uint64_t offset = 0, bytes = 0, entries = 0;
};

// The record at the end of the file, behind which only a comment may stand.
Result<Directory> FindDirectory(const InputFile& file) {
  const uint64_t tail_bytes = std::min(file.size(), kEndBytes + kMaxCommentBytes + kLocatorBytes);
  const uint64_t tail_begin = file.size() - tail_bytes;
  OCTAVO_ASSIGN_OR_RETURN(const std::string tail, ReadText(file, tail_begin, tail_bytes));
  std::optional<size_t> end;
  for (size_t at = tail.size() < kEndBytes ? 0 : tail.size() - kEndBytes + 1; at-- > 0;) {
    if (tail.compare(at, 4, "PK\x05\x06") != 0) continue;
    if (at + kEndBytes + Load<uint16_t>(tail, at + 20) == tail.size()) end = at;
    break;
  }
  if (!end) return Invalid("the archive has no end record: it is cut off, or something follows it");
  Directory directory{Load<uint32_t>(tail, *end + 16), Load<uint32_t>(tail, *end + 12),
                      Load<uint16_t>(tail, *end + 10)};
  const bool is_zip64 =
      *end >= kLocatorBytes && tail.compare(*end - kLocatorBytes, 4, "PK\x06\x07") == 0;
  uint64_t limit = tail_begin + *end;
  if (is_zip64) {
    const uint64_t at = Load<uint64_t>(tail, *end - kLocatorBytes + 8);
    if (limit < kLocatorBytes + kEnd64Bytes || at > limit - kLocatorBytes - kEnd64Bytes) {
      return Invalid("the archive's zip64 record is outside the file");
    }
    OCTAVO_ASSIGN_OR_RETURN(const std::string record, ReadText(file, at, kEnd64Bytes));
    if (!record.starts_with("PK\x06\x06")) return Invalid("the archive has no zip64 record");
    directory = {Load<uint64_t>(record, 48), Load<uint64_t>(record, 40),
                 Load<uint64_t>(record, 32)};
    limit = at;
  }
  if (directory.offset > limit || directory.bytes > limit - directory.offset) {
    return Invalid("the archive's directory is outside the file");
  }
  if (directory.bytes > kMaxDirectoryBytes || directory.entries > kMaxEntries ||
      directory.entries > directory.bytes / kCentralBytes) {
    return Invalid("the archive's directory claims " + std::to_string(directory.entries) +
                   " entries in " + std::to_string(directory.bytes) + " bytes");
  }
  return directory;
}

Status CheckName(std::string_view name) {
  OCTAVO_RETURN_IF_ERROR(CheckTensorName(name));  // UTF-8 without control characters
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.find('\\') != std::string_view::npos) {
      return Invalid("entry " + Quote(name) + ": not a plain relative path");
    }
    begin = end + 1;
  }
  return {};
}

// What a central header says, with zip64 values from its extra field.
struct CentralHeader {
  ZipEntry entry;
  uint64_t local_offset = 0;
  uint64_t record_bytes = 0;
};

Result<CentralHeader> ParseCentral(std::string_view directory, size_t at) {
  if (directory.size() - at < kCentralBytes || directory.compare(at, 4, "PK\x01\x02") != 0) {
    return Invalid("the archive's directory is damaged");
  }
  const uint16_t flags = Load<uint16_t>(directory, at + 8);
  const uint64_t name_bytes = Load<uint16_t>(directory, at + 28);
  const uint64_t extra_bytes = Load<uint16_t>(directory, at + 30);
  CentralHeader header;
  header.record_bytes =
      kCentralBytes + name_bytes + extra_bytes + Load<uint16_t>(directory, at + 32);
  if (header.record_bytes > directory.size() - at) {
    return Invalid("the archive's directory is damaged");
  }
  ZipEntry& entry = header.entry;
  entry.name = directory.substr(at + kCentralBytes, name_bytes);
  OCTAVO_RETURN_IF_ERROR(CheckName(entry.name));
  const auto refuse = [&entry](const char* why) {
    return Invalid("entry " + Quote(entry.name) + ": " + why);
  };
  if ((flags & (kEncrypted | kPatched | kStronglyEncrypted | kMasked)) != 0)
    return refuse("encrypted");
  if (Load<uint16_t>(directory, at + 10) != 0)
    return refuse("compressed; torch.save stores entries as they are, and TorchScript programs are not read");
  entry.crc32 = Load<uint32_t>(directory, at + 16);
  uint64_t stored = Load<uint32_t>(directory, at + 20);
  entry.bytes = Load<uint32_t>(directory, at + 24);
  header.local_offset = Load<uint32_t>(directory, at + 42);
  const std::string_view extra = directory.substr(at + kCentralBytes + name_bytes, extra_bytes);
  for (size_t field = 0; extra.size() - field >= 4;) {
    const uint64_t bytes = Load<uint16_t>(extra, field + 2);
    if (bytes > extra.size() - field - 4) return refuse("its extra field is damaged");
    if (Load<uint16_t>(extra, field) == kZip64Extra) {
      size_t value = field + 4;
      for (uint64_t* number : {&entry.bytes, &stored, &header.local_offset}) {
        if (*number != kNot32) continue;
        if (field + 4 + bytes - value < 8) return refuse("its zip64 field is damaged");
        *number = Load<uint64_t>(extra, value);
        value += 8;
      }
    }
    field += 4 + bytes;
  }
  if (stored != entry.bytes) return refuse("its two sizes differ");
  return header;
}

// Finds the content behind the local header, which must be in front of the directory.
Status Locate(const InputFile& file, uint64_t limit, CentralHeader* header) {
  ZipEntry& entry = header->entry;
  const auto refuse = [&entry](const char* why) {
    return Invalid("entry " + Quote(entry.name) + ": " + why);
  };
  const uint64_t name_bytes = entry.name.size();
  if (header->local_offset > limit || limit - header->local_offset < kLocalBytes + name_bytes) {
    return refuse("it is outside the file");
  }
  OCTAVO_ASSIGN_OR_RETURN(const std::string local,
                          ReadText(file, header->local_offset, kLocalBytes + name_bytes));
  if (!local.starts_with("PK\x03\x04")) return refuse("it has no local header");
  if (Load<uint16_t>(local, 26) != name_bytes || local.substr(kLocalBytes) != entry.name) {
    return refuse("its local header has another name");
  }
  if (Load<uint16_t>(local, 8) != 0 || (Load<uint16_t>(local, 6) & kEncrypted) != 0) {
    return refuse("its local header says that it is compressed or encrypted");
  }
  entry.offset = header->local_offset + kLocalBytes + name_bytes + Load<uint16_t>(local, 28);
  if (entry.offset > limit || entry.bytes > limit - entry.offset) {
    return refuse("it is outside the file");
  }
  return {};
}

Status CheckApart(std::vector<CentralHeader>* headers) {
  std::ranges::sort(*headers, {}, &CentralHeader::local_offset);
  for (size_t i = 1; i < headers->size(); ++i) {
    const ZipEntry& before = (*headers)[i - 1].entry;
    if ((*headers)[i].local_offset < before.offset + before.bytes) {
      return Invalid("entries " + Quote(before.name) + " and " + Quote((*headers)[i].entry.name) +
                     " overlap");
    }
  }
  return {};
}

}  // namespace

Result<std::vector<ZipEntry>> ReadZipDirectory(const InputFile& file) {
  OCTAVO_ASSIGN_OR_RETURN(const Directory place, FindDirectory(file));
  OCTAVO_ASSIGN_OR_RETURN(const std::string directory, ReadText(file, place.offset, place.bytes));
  std::vector<CentralHeader> headers;
  std::unordered_set<std::string> names;
  size_t at = 0;
  for (uint64_t i = 0; i < place.entries; ++i) {
    OCTAVO_ASSIGN_OR_RETURN(CentralHeader header, ParseCentral(directory, at));
    at += header.record_bytes;
    OCTAVO_RETURN_IF_ERROR(Locate(file, place.offset, &header));
    if (!names.insert(header.entry.name).second) {
      return Invalid("two entries are named " + Quote(header.entry.name));
    }
    headers.push_back(std::move(header));
  }
  if (at != directory.size()) return Invalid("the archive's directory has more than its entries");
  OCTAVO_RETURN_IF_ERROR(CheckApart(&headers));
  std::vector<ZipEntry> entries;
  for (CentralHeader& header : headers) entries.push_back(std::move(header.entry));
  return entries;
}

}  // namespace octavo::format
