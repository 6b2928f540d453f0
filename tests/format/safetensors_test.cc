// safetensors files on disk: opening, reading, writing.
#include "octavo/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/format/sources_testing.h"
#include "tests/testing/temp_dir.h"

namespace octavo::format {
namespace {

using ::octavo::testing::ExpectError;
using ::octavo::testing::SafetensorsBytes;
using ::octavo::testing::SafetensorsWith;
using ::octavo::testing::TempDir;

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string Text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Status OpenStatus(const std::string& path) { return SafetensorsFile::Open(path).status(); }

TEST(SafetensorsFile, ReadsTensors) {
  const TempDir dir;
  const std::string bytes = SafetensorsWith({"x", "y"}, 3);
  const std::string path = dir.Write("a.safetensors", bytes);
  const Result<SafetensorsFile> file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->path(), path);
  EXPECT_EQ(file->file_bytes(), bytes.size());
  ASSERT_NE(file->Find("y"), nullptr);
  EXPECT_EQ(file->Find("z"), nullptr);
  const Result<std::vector<std::byte>> y = file->Read(*file->Find("y"));
  ASSERT_TRUE(y.ok());
  EXPECT_EQ(Text(*y), "\x03\x04\x05");
  EXPECT_TRUE(file->CheckUnchanged().ok());
}

TEST(SafetensorsFile, FindsAfterAMove) {
  const TempDir dir;
  Result<SafetensorsFile> opened = SafetensorsFile::Open(dir.Write("a", SafetensorsWith({"x"})));
  ASSERT_TRUE(opened.ok());
  const SafetensorsFile file = std::move(*opened);
  EXPECT_EQ(file.Find("x"), &file.tensors()[0]);
}

TEST(SafetensorsFile, SaysWhyItCannotOpen) {
  const TempDir dir;
  ExpectError(OpenStatus(dir.File("none")), ErrorCode::kNotFound, dir.File("none"));
  ExpectError(OpenStatus(dir.path()), ErrorCode::kIo, "it is a folder");
  const std::string fifo = dir.File("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  ExpectError(OpenStatus(fifo), ErrorCode::kIo, fifo + ": not a regular file");
}

TEST(SafetensorsFile, RecognizesOtherFiles) {
  const TempDir dir;
  const auto expect = [&](std::string_view content, std::string_view message) {
    const std::string path = dir.Write("f", content);
    const Status status = OpenStatus(path);
    EXPECT_EQ(status.code(), ErrorCode::kInvalidFile);
    EXPECT_EQ(status.message(), path + ": not a safetensors file: " + std::string(message));
  };
  expect("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
         "it is a git-LFS pointer, not the weights; fetch them with \"git lfs pull\"");
  const std::string pickled =
      "it holds pickled PyTorch weights; give it a name that ends in .bin or .pt";
  expect(std::string("PK\x03\x04") + std::string(60, '\0'), pickled);
  expect("\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", pickled);
  expect("GGUF" + std::string(60, '\x03'), "it is a GGUF file");
  expect(
      "\x89"
      "8VO\r\n\x1a\n" +
          std::string(60, '\x03'),
      "it is a .8vo file");
  expect("{\"metadata\": {}, \"weight_map\": {}}",
         "it is JSON; name the model's folder, or a .safetensors.index.json");
  expect("", "it has only 0 bytes");
  expect("1234567", "it has only 7 bytes");
}

TEST(SafetensorsFile, ChecksTheHeadersLength) {
  const TempDir dir;
  const auto with_length = [&](uint64_t length, size_t rest) {
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xFF);
    return OpenStatus(dir.Write("f", bytes + std::string(rest, ' ')));
  };
  ExpectError(with_length(100'000'001, 10), ErrorCode::kInvalidFile,
              "header would have 100000001 bytes; at most 100,000,000 are allowed");
  ExpectError(with_length(~uint64_t{0}, 10), ErrorCode::kInvalidFile,
              "header would have 18446744073709551615 bytes");
  ExpectError(with_length(100'000'000, 10), ErrorCode::kInvalidFile,
              "the header ends at 100000008, file has 18 bytes");
  ExpectError(with_length(11, 10), ErrorCode::kInvalidFile,
              "the header ends at 19, file has 18 bytes");
  ExpectError(with_length(10, 10), ErrorCode::kInvalidFile, "the header does not begin with '{'");
  ExpectError(with_length(0, 0), ErrorCode::kInvalidFile, "the header does not begin with '{'");
}

TEST(SafetensorsFile, MessagesNameTheFileOnce) {
  const TempDir dir;
  const std::string path = dir.Write(
      "w", SafetensorsBytes(R"({"h.0.w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1));
  EXPECT_EQ(OpenStatus(path).message(),
            path + ": header: tensor \"h.0.w\": dtype \"F4\" is not one that this version reads");
}

TEST(SafetensorsFile, NoticesChanges) {
  const TempDir dir;
  const std::string path = dir.Write("a", SafetensorsWith({"x"}, 100));
  const Result<SafetensorsFile> file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(path, 100);
  ExpectError(file->CheckUnchanged(), ErrorCode::kIo, path);
  ExpectError(file->Read(*file->Find("x")).status(), ErrorCode::kIo, path);
}

TEST(SafetensorsFile, RefusesAnEntryOfAnotherFile) {
  const TempDir dir;
  const Result<SafetensorsFile> file =
      SafetensorsFile::Open(dir.Write("a", SafetensorsWith({"x"})));
  ASSERT_TRUE(file.ok());
  SafetensorsEntry entry;
  entry.name = "x";
  entry.bytes = uint64_t{1} << 62;
  ExpectError(file->Read(entry).status(), ErrorCode::kInvalidArgument, "\"x\" is not one of");
  entry.offset = 1;
  entry.bytes = ~uint64_t{0};
  ExpectError(file->Read(entry).status(), ErrorCode::kInvalidArgument, "\"x\" is not one of");
  entry.offset = ~uint64_t{0};
  entry.bytes = 2;
  ExpectError(file->Read(entry).status(), ErrorCode::kInvalidArgument, "\"x\" is not one of");
}

// ---- Writing ----

TEST(WriteSafetensors, WritesTheseBytes) {
  const TempDir dir;
  const std::string path = dir.File("a.safetensors");
  const SafetensorsTensor tensors[] = {{"b", DType::kI16, {2}, Bytes("1234")},
                                       {"a", DType::kU8, {}, Bytes("5")}};
  const Status status = WriteSafetensors(path, tensors, {{"k", "v\""}}, false);
  ASSERT_TRUE(status.ok()) << status.message();
  std::string header =
      R"({"__metadata__":{"k":"v\""},"b":{"dtype":"I16","shape":[2],"data_offsets":[0,4]},)"
      R"("a":{"dtype":"U8","shape":[],"data_offsets":[4,5]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(dir.Read("a.safetensors"), SafetensorsBytes(header, 0) + "12345");
}

TEST(WriteSafetensors, IsReadBack) {
  const TempDir dir;
  const std::string path = dir.File("a.safetensors");
  const std::map<std::string, std::string> metadata = {{"", ""}, {"\u6a21\n\x01", "\"\\\u2028"}};
  const SafetensorsTensor tensors[] = {
      {"\u6a21\"\\/.w", DType::kF8E4M3, {1, 3}, Bytes("abc")},
      {"empty", DType::kF64, {0, 7}, {}},
      {"last", DType::kBF16, {1, 1, 1, 1, 1, 1, 1, 2}, Bytes("wxyz")}};
  ASSERT_TRUE(WriteSafetensors(path, tensors, metadata, false).ok());
  const Result<SafetensorsFile> file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->metadata(), metadata);
  ASSERT_EQ(file->tensors().size(), std::size(tensors));
  for (const SafetensorsTensor& tensor : tensors) {
    const SafetensorsEntry* entry = file->Find(tensor.name);
    ASSERT_NE(entry, nullptr) << tensor.name;
    EXPECT_EQ(entry->dtype, tensor.dtype);
    EXPECT_EQ(entry->shape, tensor.shape);
    const Result<std::vector<std::byte>> data = file->Read(*entry);
    ASSERT_TRUE(data.ok());
    EXPECT_TRUE(std::ranges::equal(*data, tensor.data));
  }
}

TEST(WriteSafetensors, ReplacesOnlyWhenAsked) {
  const TempDir dir;
  const std::string path = dir.Write("a", "old");
  const Status status = WriteSafetensors(path, {}, {}, false);
  EXPECT_EQ(status.code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(dir.Read("a"), "old");
  ASSERT_TRUE(WriteSafetensors(path, {}, {}, true).ok());
  EXPECT_EQ(dir.Read("a"), SafetensorsBytes("{}      ", 0));
}

TEST(WriteSafetensors, RefusesWhatCannotBeAFile) {
  const TempDir dir;
  const std::string path = dir.File("a");
  const auto expect = [&](const std::vector<SafetensorsTensor>& tensors, std::string_view message) {
    ExpectError(WriteSafetensors(path, tensors, {}, false), ErrorCode::kInvalidArgument, message);
  };
  expect({{"x", DType::kF32, {1}, Bytes("123")}}, "\"x\": F32 [1] does not take the 3 bytes given");
  const uint64_t huge = uint64_t{1} << 32;
  expect({{"x", DType::kU8, {huge, huge}, {}}}, "does not take the 0 bytes given");
  expect({{"x", DType::kF64, {uint64_t{1} << 61}, {}}}, "does not take the 0 bytes given");
  expect({{"x", DType::kU8, {1}, Bytes("1")}, {"x", DType::kU8, {1}, Bytes("1")}},
         "two tensors are named \"x\"");
  expect({{"__metadata__", DType::kU8, {1}, Bytes("1")}}, "__metadata__");
  expect({{"", DType::kU8, {1}, Bytes("1")}}, "is empty");
  for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe6\xa8"}) {
    expect({{bad, DType::kU8, {1}, Bytes("1")}}, "is not UTF-8");
  }
  ExpectError(WriteSafetensors(path, {}, {{"k", "\xff"}}, false), ErrorCode::kInvalidArgument,
              "metadata \"k\" is not UTF-8");
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(WriteSafetensors, LeavesNothingBehindWhereItCannotWrite) {
  const TempDir dir;
  ExpectError(WriteSafetensors(dir.File("no/folder"), {}, {}, false), ErrorCode::kNotFound,
              dir.File("no"));
  ASSERT_TRUE(std::filesystem::create_directory(dir.File("taken")));
  ExpectError(WriteSafetensors(dir.File("taken"), {}, {}, true), ErrorCode::kIo, dir.File("taken"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

}  // namespace
}  // namespace octavo::format
