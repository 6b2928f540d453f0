// torch.save's files made by hand: the opcodes of a pickle, and the zip archive around it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::testing {

inline std::string LittleEndian(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(i < 8 ? value >> (8 * i) : 0);
  return text;
}

// ---- Pickles ------------------------------------------------------------------------------------
inline std::string Str(std::string_view text) {
  return "X" + LittleEndian(text.size(), 4) + std::string(text);
}
inline std::string Int(int64_t value) {
  return "\x8a\x08" + LittleEndian(static_cast<uint64_t>(value), 8);
}
inline std::string Global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string Tuple(std::initializer_list<std::string> items) {
  std::string text = "(";
  for (const std::string& item : items) text += item;
  return text + "t";
}
inline std::string Ints(std::initializer_list<int64_t> values) {
  std::string text = "(";
  for (const int64_t value : values) text += Int(value);
  return text + "t";
}
inline std::string Storage(std::string_view type, std::string_view key, int64_t elements) {
  return Tuple({Str("storage"), Global("torch", type), Str(key), Str("cpu"), Int(elements)}) + "Q";
}
// _rebuild_tensor_v2 of these.
inline std::string Tensor(const std::string& storage, int64_t offset, const std::string& size,
                          const std::string& stride) {
  return Global("torch._utils", "_rebuild_tensor_v2") +
         Tuple({storage, Int(offset), size, stride, "\x89",
                Global("collections", "OrderedDict") + ")R"}) +
         "R";
}
// A dict of names and values.
inline std::string Dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string text = "}(";
  for (const auto& [name, value] : items) text += Str(name) + value;
  return text + "u";
}
inline std::string Pickle(const std::string& body) { return "\x80\x02" + body + "."; }

// ---- Archives
// -------------------------------------------------------------------------------------
struct ZipFileEntry {
  std::string name;
  std::string content;
  // What may be wrong with it.
  std::string local_name = {};  // empty: as `name`
  uint16_t flags = 0x808;       // as torch has them
  uint16_t method = 0;
  uint32_t crc32 = 0;      // none
  int64_t more_bytes = 0;  // than it has, in the directory
  int64_t move = 0;        // of the local header, in the directory
};

inline std::string Zip(const std::vector<ZipFileEntry>& entries, const std::string& comment = "") {
  std::string file, directory;
  for (const ZipFileEntry& entry : entries) {
    const std::string& local_name = entry.local_name.empty() ? entry.name : entry.local_name;
    const uint64_t offset = file.size();
    const uint64_t bytes = entry.content.size() + static_cast<uint64_t>(entry.more_bytes);
    const std::string common = LittleEndian(entry.flags, 2) + LittleEndian(entry.method, 2) +
                               LittleEndian(0, 4) + LittleEndian(entry.crc32, 4) +
                               LittleEndian(bytes, 4) + LittleEndian(bytes, 4);
    file += std::string("PK\x03\x04") + LittleEndian(0, 2) + common +
            LittleEndian(local_name.size(), 2) + LittleEndian(0, 2) + local_name + entry.content;
    directory += std::string("PK\x01\x02") + LittleEndian(0, 4) + common +
                 LittleEndian(entry.name.size(), 2) + LittleEndian(0, 12) +
                 LittleEndian(offset + static_cast<uint64_t>(entry.move), 4) + entry.name;
  }
  const uint64_t offset = file.size();
  return file + directory + std::string("PK\x05\x06") + LittleEndian(0, 4) +
         LittleEndian(entries.size(), 2) + LittleEndian(entries.size(), 2) +
         LittleEndian(directory.size(), 4) + LittleEndian(offset, 4) +
         LittleEndian(comment.size(), 2) + comment;
}

// An archive of this pickle and one storage "0" of bytes 0, 1, 2, …
inline std::vector<ZipFileEntry> TorchEntries(const std::string& pickle, size_t storage_bytes) {
  std::string storage;
  for (size_t i = 0; i < storage_bytes; ++i) storage += static_cast<char>(i);
  return {{"a/data.pkl", pickle},
          {"a/byteorder", "little"},
          {"a/data/0", storage},
          {"a/version", "3\n"}};
}

}  // namespace octavo::testing
