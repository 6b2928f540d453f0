// A folder appears when it is complete, and replaces nothing that is not ours.
#include "octavo/output_folder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "tests/testing/temp_dir.h"

namespace octavo::format {
namespace {

bool IsOurs(std::string_view name) { return name.starts_with("ours"); }

std::span<const std::byte> BytesOf(std::string_view text) { return std::as_bytes(std::span(text)); }

class OutputFolderTest : public ::testing::Test {
 protected:
  std::vector<std::string> Names(const std::string& folder) const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }
  // Writes one file and takes the name.
  Status Make(bool overwrite, const std::string& name = "ours") const {
    auto folder = OutputFolder::Create(dir_.File("out"), overwrite, IsOurs);
    if (!folder.ok()) return folder.status();
    OCTAVO_RETURN_IF_ERROR(folder->Write(name, BytesOf("new")));
    return folder->Commit();
  }

  testing::TempDir dir_;
};

TEST_F(OutputFolderTest, AppearsWithCommitAlone) {
  auto folder = OutputFolder::Create(dir_.File("out/"), false, IsOurs);
  ASSERT_TRUE(folder.ok()) << folder.status().message();
  ASSERT_TRUE(folder->Write("ours", BytesOf("new")).ok());
  EXPECT_FALSE(std::filesystem::exists(dir_.File("out")));
  ASSERT_TRUE(folder->Commit().ok());
  EXPECT_EQ(dir_.Read("out/ours"), "new");
  folder = OutputFolder::Create(dir_.File("other"), false, IsOurs);
  EXPECT_EQ(Names(dir_.path()),
            (std::vector<std::string>{".other.octavo-folder", ".other.octavo-lock", "out"}));
}

TEST_F(OutputFolderTest, LeavesNothingWithoutCommit) {
  std::optional folder = OutputFolder::Create(dir_.File("out"), false, IsOurs);
  ASSERT_TRUE((*folder)->Write("ours", BytesOf("new")).ok());
  folder.reset();
  EXPECT_TRUE(Names(dir_.path()).empty());
}

TEST_F(OutputFolderTest, TakesTheNameOfAnEmptyFolder) {
  std::filesystem::create_directory(dir_.File("out"));
  const Status status = Make(false);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(Names(dir_.File("out")), std::vector<std::string>{"ours"});
}

TEST_F(OutputFolderTest, ReplacesItsOwnKindWhereThatIsAskedFor) {
  dir_.Write("out/ours", "old");
  dir_.Write("out/ours.2", "old");
  EXPECT_EQ(Make(false).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(dir_.Read("out/ours"), "old");
  ASSERT_TRUE(Make(true).ok());
  EXPECT_EQ(dir_.Read("out/ours"), "new");
  EXPECT_EQ(Names(dir_.File("out")), std::vector<std::string>{"ours"});
  EXPECT_EQ(Names(dir_.path()), std::vector<std::string>{"out"});
}

TEST_F(OutputFolderTest, NeverRemovesWhatIsNotItsOwn) {
  dir_.Write("out/ours", "old");
  dir_.Write("out/thesis.tex", "precious");
  EXPECT_EQ(Make(true).code(), ErrorCode::kInvalidArgument);
  std::filesystem::remove(dir_.File("out/thesis.tex"));
  dir_.Write("out/ours.d/thesis.tex", "precious");
  EXPECT_EQ(Make(true).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(dir_.Read("out/ours.d/thesis.tex"), "precious");
  // What appears while the folder is being made.
  std::filesystem::remove_all(dir_.File("out"));
  auto folder = OutputFolder::Create(dir_.File("out"), true, IsOurs);
  dir_.Write("out/thesis.tex", "precious");
  EXPECT_EQ(folder->Commit().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(dir_.Read("out/thesis.tex"), "precious");
}

TEST_F(OutputFolderTest, IsRefusedWhereAFileStands) {
  dir_.Write("out", "a file");
  EXPECT_EQ(Make(true).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(OutputFolder::Create("/", true, IsOurs).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(OutputFolder::Create(dir_.File(".."), true, IsOurs).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(OutputFolder::Create(dir_.File("no/out"), true, IsOurs).code(), ErrorCode::kNotFound);
}

TEST_F(OutputFolderTest, TwoMakersAreKeptApart) {
  const auto first = OutputFolder::Create(dir_.File("out"), false, IsOurs);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(Make(false).code(), ErrorCode::kIo);
}

TEST_F(OutputFolderTest, RemovesWhatAKilledMakerLeft) {
  dir_.Write(".out.octavo-folder/ours", "half");
  dir_.Write(".out.octavo-old/ours", "old");
  ASSERT_TRUE(Make(true).ok());  // the old folder got its name back first
  EXPECT_EQ(Names(dir_.path()), std::vector<std::string>{"out"});
  EXPECT_EQ(dir_.Read("out/ours"), "new");
}

TEST_F(OutputFolderTest, FileNamesAreBaseNames) {
  EXPECT_EQ(Make(false, "../ours").code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Make(false, "").code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(Names(dir_.path()).empty());
}

}  // namespace
}  // namespace octavo::format
