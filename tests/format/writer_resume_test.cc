// Writers that stop and are taken up again: the bytes of one that never stopped, or a clear
// refusal.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "format/output_lock.h"
#include "octavo/writer.h"
#include "tests/format/octavo_files.h"

namespace octavo::testing {
namespace {

using format::Writer;
using format::WriterOptions;

constexpr int kTensors = 6;
constexpr uint64_t kRows = 40;
constexpr uint64_t kChunkRows = 7;

WriterOptions Options(bool resume) {
  return {.max_shard_bytes = 30'000, .fingerprint = "options\tthe same\n", .resume = resume};
}

// Writes chunk after chunk from where the writer stands, with a save point after each, until `stop`
// chunks are saved. The state is the number of chunks. False once it stopped.
bool WriteChunks(Writer* writer, int stop) {
  int saved =
      writer->saved_states().empty() ? 0 : static_cast<int>(writer->saved_states().back()[0]);
  int at = 0;
  for (int t = 0; t < kTensors; ++t) {
    const uint64_t num_chunks = (kRows + kChunkRows - 1) / kChunkRows;
    for (uint64_t c = 0; c < num_chunks; ++c, ++at) {
      if (at < saved) continue;
      if (at == stop) return false;
      if (c == 0) {
        EXPECT_TRUE(writer->BeginBundle(kRows * 500).ok());
        EXPECT_TRUE(
            writer->AddTensor("t" + std::to_string(t), DType::kU8, Shape{kRows, 500}, 0, kChunkRows)
                .ok());
      }
      const Bytes rows(std::min(kChunkRows, kRows - c * kChunkRows) * 500,
                       static_cast<std::byte>(at));
      std::vector<std::byte> buffer;
      const auto chunk = writer->EncodeChunk(rows, &buffer);
      EXPECT_TRUE(chunk.ok());
      const auto place = writer->PlaceChunk(static_cast<uint32_t>(t), *chunk);
      EXPECT_TRUE(place.ok());
      EXPECT_TRUE(writer->WriteChunk(*place, chunk->data).ok());
      if (c + 1 == num_chunks) {
        EXPECT_TRUE(writer->FinishTensor(static_cast<uint32_t>(t)).ok());
      }
      const std::byte state = static_cast<std::byte>(at + 1);
      EXPECT_TRUE(writer->Save(writer->TakeSavePoint({&state, 1})).ok());
    }
  }
  return true;
}

format::Manifest TestManifest() {
  format::Manifest manifest;
  manifest.converter = "test";
  for (int t = 0; t < kTensors; ++t) {
    format::Module module;
    module.name = "m" + std::to_string(t);
    module.reason = "test";
    module.tensors = {"t" + std::to_string(t)};
    manifest.modules.push_back(module);
  }
  return manifest;
}

std::map<std::string, Bytes> Contents(const TemporaryFolder& folder) {
  std::map<std::string, Bytes> contents;
  for (const std::string& name : folder.Names()) contents[name] = Load(folder / name);
  return contents;
}

std::map<std::string, Bytes> Uninterrupted() {
  const TemporaryFolder folder;
  auto writer = Writer::Create(folder / "x.8vo", Options(false));
  EXPECT_TRUE(WriteChunks(&*writer, 1000));
  EXPECT_TRUE(writer->Finish(TestManifest()).ok());
  return Contents(folder);
}

// What is left of a writer that stopped after so many chunks.
void Interrupt(const TemporaryFolder& folder, int stop) {
  auto writer = Writer::Create(folder / "x.8vo", Options(false));
  ASSERT_TRUE(writer.ok());
  EXPECT_FALSE(WriteChunks(&*writer, stop));
}

TEST(WriterResume, GivesTheSameBytesWhereverItStops) {
  const std::map<std::string, Bytes> expected = Uninterrupted();
  EXPECT_GE(expected.size(), 4u) << "an index and shards";
  for (int stop = 1; stop < 36; ++stop) {
    const TemporaryFolder folder;
    {
      auto writer = Writer::Create(folder / "x.8vo", Options(true));
      ASSERT_TRUE(writer.ok());
      EXPECT_FALSE(WriteChunks(&*writer, stop));
    }
    EXPECT_FALSE(std::filesystem::exists(folder / "x.8vo"));
    auto writer = Writer::Create(folder / "x.8vo", Options(true));
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    EXPECT_EQ(writer->saved_states().size(), static_cast<size_t>(stop));
    EXPECT_TRUE(WriteChunks(&*writer, 1000));
    ASSERT_TRUE(writer->Finish(TestManifest()).ok());
    EXPECT_EQ(Contents(folder), expected) << stop;
  }
}

TEST(WriterResume, WithoutItNothingOfTheInterruptedRunStays) {
  const std::map<std::string, Bytes> expected = Uninterrupted();
  const TemporaryFolder folder;
  Interrupt(folder, 30);
  EXPECT_GE(folder.Names().size(), 4u);
  auto writer = Writer::Create(folder / "x.8vo", Options(false));
  EXPECT_TRUE(writer->saved_states().empty());
  EXPECT_TRUE(WriteChunks(&*writer, 1000));
  ASSERT_TRUE(writer->Finish(TestManifest()).ok());
  EXPECT_EQ(Contents(folder), expected);
}

TEST(WriterResume, SaysWhatDiffersAndKeepsEverything) {
  const TemporaryFolder folder;
  Interrupt(folder, 10);
  const std::map<std::string, Bytes> before = Contents(folder);
  WriterOptions options = Options(true);
  options.fingerprint = "options\tothers\n";
  ExpectRefused(Writer::Create(folder / "x.8vo", options).status(), ErrorCode::kInvalidArgument,
                {"options was \"the same\" and is \"others\"", "--resume"});
  EXPECT_EQ(Contents(folder), before);
}

TEST(WriterResume, AJournalCutAnywhereIsTakenUpAtAnEarlierPoint) {
  const std::map<std::string, Bytes> expected = Uninterrupted();
  const TemporaryFolder folder;
  Interrupt(folder, 5);
  const std::map<std::string, Bytes> before = Contents(folder);
  const Bytes whole = before.at(".x.8vo.octavo-journal");
  for (size_t size = 17; size < whole.size(); size += 13) {
    for (const auto& [name, bytes] : before) Save(folder / name, bytes);
    Save(folder / ".x.8vo.octavo-journal", Bytes(whole.begin(), whole.begin() + size));
    auto writer = Writer::Create(folder / "x.8vo", Options(true));
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    EXPECT_TRUE(WriteChunks(&*writer, 1000));
    ASSERT_TRUE(writer->Finish(TestManifest()).ok());
    EXPECT_EQ(Contents(folder), expected);
    for (const std::string& name : folder.Names()) std::filesystem::remove(folder / name);
  }
}

TEST(WriterResume, APayloadThatLostItsEndIsAnError) {
  const TemporaryFolder folder;
  Interrupt(folder, 5);
  std::filesystem::resize_file(folder / ".x.8vo.octavo-00000", 1000);
  ExpectRefused(Writer::Create(folder / "x.8vo", Options(true)).status(), ErrorCode::kIo,
                {".x.8vo.octavo-00000", "1000 bytes"});
}

TEST(WriterResume, DiscardLeavesNothing) {
  const TemporaryFolder folder;
  {
    auto writer = Writer::Create(folder / "x.8vo", Options(false));
    WriteChunks(&*writer, 10);
    EXPECT_TRUE(writer->has_save_point());
    writer->Discard();
  }
  EXPECT_TRUE(folder.Names().empty());
}

TEST(OutputLock, TheSecondWriterIsToldWhoHoldsIt) {
  const TemporaryFolder folder;
  auto first = Writer::Create(folder / "x.8vo", {});
  ASSERT_TRUE(first.ok());
  ExpectRefused(
      Writer::Create(folder / "x.8vo", {.overwrite = true}).status(), ErrorCode::kIo,
      {folder / "x.8vo", "is being written by process " + std::to_string(getpid()) + " on "});
  EXPECT_TRUE(Writer::Create(folder / "y.8vo", {}).ok()) << "another output";
}

TEST(OutputLock, IsFreeWhenItsHolderIsKilled) {
  const TemporaryFolder folder;
  const pid_t child = fork();
  if (child == 0) {
    auto writer = Writer::Create(folder / "x.8vo", {});
    _exit(writer.ok() ? 0 : 1);
  }
  int result = -1;
  ASSERT_EQ(waitpid(child, &result, 0), child);
  ASSERT_EQ(result, 0);
  EXPECT_EQ(folder.Names().size(), 2u) << "the lock and a payload";
  auto writer = Writer::Create(folder / "x.8vo", {});
  ASSERT_TRUE(writer.ok()) << writer.status().message();
}

TEST(OutputLock, OneOfManyGetsIt) {
  const TemporaryFolder folder;
  for (int round = 0; round < 50; ++round) {
    std::vector<pid_t> children;
    for (int i = 0; i < 4; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        auto lock = format::OutputLock::Acquire(folder / "x.8vo");
        if (!lock.ok()) _exit(0);
        // Nobody else may have it now.
        const std::string mine = folder / "held";
        const int fd = open(mine.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (fd < 0) _exit(2);
        close(fd);
        unlink(mine.c_str());
        lock->Release();
        _exit(1);
      }
      children.push_back(child);
    }
    int holders = 0;
    for (const pid_t child : children) {
      int result = -1;
      ASSERT_EQ(waitpid(child, &result, 0), child);
      EXPECT_NE(WEXITSTATUS(result), 2) << "two held it at once";
      holders += WEXITSTATUS(result) == 1;
    }
    EXPECT_GE(holders, 1);
  }
}

}  // namespace
}  // namespace octavo::testing
