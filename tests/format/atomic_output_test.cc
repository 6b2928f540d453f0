// What the file system shows of a writer that fails, is killed, or finds something in its place.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>

#include "format/file.h"
#include "octavo/writer.h"
#include "tests/format/octavo_files.h"

namespace octavo::testing {
namespace {

using format::AtomicFile;
using format::Writer;

TEST(AtomicOutput, AWriterThatIsNotFinishedLeavesNothing) {
  const TemporaryFolder folder;
  {
    auto writer = Writer::Create(folder / "x.8vo", {});
    ASSERT_TRUE(writer.ok());
    const std::vector<std::byte> raw(100);
    ASSERT_TRUE(writer->AppendTensor("w", DType::kU8, Shape{100}, raw).ok());
    EXPECT_EQ(folder.Names().size(), 2u) << "a temporary and a lock";
    EXPECT_FALSE(std::filesystem::exists(folder / "x.8vo"));
  }
  EXPECT_TRUE(folder.Names().empty());
}

TEST(AtomicOutput, AShardedWriterThatIsNotFinishedLeavesNothing) {
  const TemporaryFolder folder;
  {
    SampleFile file(folder / "x.8vo", {.max_shard_bytes = 8000});
    for (int i = 0; i < 4; ++i)
      file.AddLinear({.name = "h." + std::to_string(i), .out_features = 50, .in_features = 90});
    EXPECT_GE(folder.Names().size(), 2u);
  }
  EXPECT_TRUE(folder.Names().empty());
}

TEST(AtomicOutput, AnExistingOutputIsRefusedWithoutTheOptionAndStaysAsItWas) {
  const TemporaryFolder folder;
  Save(folder / "x.8vo", Bytes(5, std::byte{7}));
  EXPECT_EQ(Writer::Create(folder / "x.8vo", {}).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(folder.Names(), std::vector<std::string>{"x.8vo"});
  EXPECT_EQ(Load(folder / "x.8vo"), Bytes(5, std::byte{7}));
}

TEST(AtomicOutput, AnOutputThatAppearsMeanwhileIsNotOverwritten) {
  const TemporaryFolder folder;
  SampleFile file(folder / "x.8vo");
  file.AddLinear({.name = "h.0"});
  Save(folder / "x.8vo", Bytes(5, std::byte{7}));
  EXPECT_EQ(file.Finish().code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(Load(folder / "x.8vo"), Bytes(5, std::byte{7}));
}

TEST(AtomicOutput, OverwritingReplacesTheOldFileOnlyAtTheEnd) {
  const TemporaryFolder folder;
  Save(folder / "x.8vo", Bytes(5, std::byte{7}));
  SampleFile file(folder / "x.8vo", {.overwrite = true});
  file.AddLinear({.name = "h.0"});
  EXPECT_EQ(Load(folder / "x.8vo"), Bytes(5, std::byte{7}));
  ASSERT_TRUE(file.Finish().ok());
  EXPECT_TRUE(format::Reader::Open(folder / "x.8vo", {.verify = true}).ok());
  EXPECT_EQ(folder.Names(), std::vector<std::string>{"x.8vo"});
}

TEST(AtomicOutput, TemporariesOfDeadProcessesAreRemovedThoseOfLiveOnesNot) {
  const TemporaryFolder folder;
  const pid_t child = fork();
  if (child == 0) {  // dies with its temporary in place
    auto file = AtomicFile::Create(folder / "x.8vo");
    _exit(file.ok() ? 0 : 1);
  }
  int result = -1;
  ASSERT_EQ(waitpid(child, &result, 0), child);
  ASSERT_EQ(result, 0);
  const std::string stale = folder.Names()[0];
  Save(folder / ".x.8vo.octavo-notours", {});  // another length
  Save(folder / ".y.8vo.octavo-abcdef", {});   // another output
  ASSERT_EQ(folder.Names().size(), 3u);
  auto live = AtomicFile::Create(folder / "x.8vo");
  ASSERT_TRUE(live.ok());
  auto other = AtomicFile::Create(folder / "x.8vo");
  ASSERT_TRUE(other.ok());
  const std::vector<std::string> names = folder.Names();
  EXPECT_EQ(names.size(), 4u) << "two live ones, two that are not ours";
  EXPECT_EQ(std::ranges::count(names, stale), 0);
}

TEST(AtomicOutput, AFolderThatIsNotThereIsNotFound) {
  const TemporaryFolder folder;
  const Status status = Writer::Create(folder / "nowhere/x.8vo", {}).status();
  ExpectRefused(status, ErrorCode::kNotFound, {folder / "nowhere"});
}

TEST(AtomicOutput, AFolderInPlaceOfTheOutputIsRefused) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "x.8vo");
  EXPECT_EQ(Writer::Create(folder / "x.8vo", {.overwrite = true}).code(), ErrorCode::kIo);
}

TEST(AtomicOutput, AFifoInPlaceOfTheOutputIsRefusedAndStays) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "x.8vo").c_str(), 0600), 0);
  EXPECT_EQ(Writer::Create(folder / "x.8vo", {.overwrite = true}).code(), ErrorCode::kIo);
  EXPECT_TRUE(std::filesystem::is_fifo(folder / "x.8vo"));
  EXPECT_EQ(folder.Names().size(), 1u);
}

TEST(AtomicOutput, AnOutputWithoutANameIsRefused) {
  EXPECT_EQ(Writer::Create("", {}).code(), ErrorCode::kInvalidArgument);
  const TemporaryFolder folder;
  EXPECT_EQ(AtomicFile::Create(folder / "").code(), ErrorCode::kInvalidArgument);
}

TEST(AtomicOutput, AReadOnlyFolderIsAnError) {
  const TemporaryFolder folder;
  std::filesystem::permissions(folder.path(), static_cast<std::filesystem::perms>(0555));
  const pid_t child = fork();
  if (child == 0) {  // root may write anywhere, so it becomes nobody
    if (geteuid() == 0 && setuid(65534) != 0) _exit(10);
    const Status status = Writer::Create(folder / "x.8vo", {}).status();
    const bool names_it = status.message().find(folder.path()) != std::string::npos;
    _exit(status.code() == ErrorCode::kIo && names_it ? 0 : 11);
  }
  int result = -1;
  ASSERT_EQ(waitpid(child, &result, 0), child);
  EXPECT_EQ(WEXITSTATUS(result), 0);
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
}

TEST(AtomicOutput, AFileSystemThatRefusesNewFilesIsAnError) {
  // /proc refuses them to everybody.
  const Status status = Writer::Create("/proc/x.8vo", {}).status();
  EXPECT_TRUE(status.code() == ErrorCode::kIo || status.code() == ErrorCode::kNotFound);
  EXPECT_NE(status.message().find("/proc"), std::string::npos) << status.message();
}

// Runs in a child: the limit and the signal's disposition are the process's own.
int WriteWithLimit(const std::string& path, rlim_t bytes) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {bytes, bytes};
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 10;
  SampleFile file(path);
  file.AddLinear({.name = "h.0", .out_features = 100, .in_features = 1000});
  const Status status = file.Finish();
  if (status.code() != ErrorCode::kIo) return 11;
  return status.message().find(path) != std::string::npos ? 0 : 12;
}

TEST(AtomicOutput, AFullDiskIsAnErrorThatNamesTheOutputAndLeavesNothing) {
  for (const rlim_t limit : {rlim_t{0}, rlim_t{1000}, rlim_t{60'000}, rlim_t{102'000}}) {
    const TemporaryFolder folder;
    const pid_t child = fork();
    if (child == 0) _exit(WriteWithLimit(folder / "x.8vo", limit));
    int result = -1;
    ASSERT_EQ(waitpid(child, &result, 0), child);
    EXPECT_EQ(WEXITSTATUS(result), 0) << limit;
    EXPECT_TRUE(folder.Names().empty()) << limit;
  }
}

TEST(AtomicOutput, TheModeFollowsTheUmask) {
  const TemporaryFolder folder;
  const mode_t old = umask(027);
  WriteSample("plain", folder / "x.8vo");
  umask(old);
  EXPECT_EQ(std::filesystem::status(folder / "x.8vo").permissions(),
            static_cast<std::filesystem::perms>(0640));
}

TEST(AtomicOutput, OldShardsGoAfterTheNewIndexAndNothingElseDoes) {
  const TemporaryFolder folder;
  WriteSample("sharded", folder / "x.8vo");
  const std::vector<std::string> before = folder.Names();
  ASSERT_EQ(before.size(), 3u);
  Save(folder / "x-00000000-00001-of-00002.8vo", {});  // not of the old index
  SampleFile file(folder / "x.8vo", {.overwrite = true, .max_shard_bytes = 8000});
  for (int i = 0; i < 3; ++i)
    file.AddLinear({.name = "h." + std::to_string(i), .out_features = 60, .in_features = 100});
  for (const std::string& name : before)
    EXPECT_TRUE(std::filesystem::exists(folder / name)) << name;
  ASSERT_TRUE(file.Finish().ok());
  EXPECT_TRUE(format::Reader::Open(folder / "x.8vo", {.verify = true}).ok());
  for (const std::string& name : before) {
    EXPECT_EQ(std::filesystem::exists(folder / name), name == "x.8vo") << name;
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "x-00000000-00001-of-00002.8vo"));
  EXPECT_EQ(folder.Names().size(), file.writer()->files().size() + 1);
}

// An index under another name, or one that somebody made, must not make us remove files that are
// not its own.
TEST(AtomicOutput, OverwritingACopyOfAnIndexLeavesTheOriginalsShards) {
  const TemporaryFolder folder;
  WriteSample("sharded", folder / "x.8vo");
  std::filesystem::copy_file(folder / "x.8vo", folder / "copy.8vo");
  SampleFile file(folder / "copy.8vo", {.overwrite = true});
  file.AddLinear({.name = "h.0"});
  ASSERT_TRUE(file.Finish().ok());
  EXPECT_TRUE(format::Reader::Open(folder / "x.8vo", {.verify = true}).ok());
}

TEST(AtomicOutput, AFileInPlaceOfAnOldShardStays) {
  const TemporaryFolder folder;
  WriteSample("sharded", folder / "x.8vo");
  std::string shard;
  for (const std::string& name : folder.Names()) {
    if (name.ends_with("-00001-of-00002.8vo")) shard = name;
  }
  ASSERT_FALSE(shard.empty());
  std::filesystem::remove(folder / shard);
  Save(folder / shard, Bytes(5, std::byte{7}));
  SampleFile file(folder / "x.8vo", {.overwrite = true});
  file.AddLinear({.name = "h.0"});
  ASSERT_TRUE(file.Finish().ok());
  EXPECT_EQ(folder.Names(), (std::vector<std::string>{shard, "x.8vo"}));
}

TEST(AtomicOutput, TheSameModelAgainKeepsItsShards) {
  const TemporaryFolder folder;
  for (int run = 0; run < 2; ++run) {
    SampleFile file(folder / "x.8vo", {.overwrite = true, .max_shard_bytes = 8000});
    for (int i = 0; i < 3; ++i)
      file.AddLinear({.name = "h." + std::to_string(i), .out_features = 60, .in_features = 100});
    ASSERT_TRUE(file.Finish().ok());
    EXPECT_TRUE(format::Reader::Open(folder / "x.8vo", {.verify = true}).ok());
  }
}

TEST(AtomicOutput, ShardsOfARefusedIndexDoNotStay) {
  const TemporaryFolder folder;
  SampleFile file(folder / "x.8vo", {.max_shard_bytes = 8000});
  for (int i = 0; i < 3; ++i)
    file.AddLinear({.name = "h." + std::to_string(i), .out_features = 60, .in_features = 100});
  Save(folder / "x.8vo", Bytes(5, std::byte{7}));
  EXPECT_EQ(file.Finish().code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(folder.Names(), std::vector<std::string>{"x.8vo"});
}

}  // namespace
}  // namespace octavo::testing
