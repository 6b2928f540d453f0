// The committed files are what the writer writes today, and each broken one is refused for its
// rule.
#include <gtest/gtest.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "octavo/reader.h"
#include "tests/golden/broken_files.h"
#include "tests/golden/sample_file.h"
#include "tests/golden/surgery.h"

namespace octavo::testing {
namespace {

const std::string kValid = std::string(OCTAVO_GOLDEN) + "/valid/";
const std::string kInvalidFolder = std::string(OCTAVO_GOLDEN) + "/invalid/";

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

class NewFolder {
 public:
  NewFolder() {
    std::string pattern = ::testing::TempDir() + "octavo_golden_XXXXXX";
    path_ = std::string(mkdtemp(pattern.data())) + "/";
  }
  ~NewFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class GoldenValid : public ::testing::TestWithParam<Sample> {};

TEST_P(GoldenValid, IsWrittenAgainByteForByte) {
  const bool has_codec = GetParam().name.starts_with("zstd");
  if (has_codec && ZSTD_versionNumber() / 100 != 105) {
    GTEST_SKIP() << "frames of zstd " << ZSTD_versionString() << " may differ from those of 1.5";
  }
  const NewFolder folder;
  const std::string name = std::string(GetParam().name) + ".8vo";
  const Status status = GetParam().write(folder.path() + name);
  ASSERT_TRUE(status.ok()) << status.message();
  for (const std::string& file : FilesIn(folder.path())) {
    EXPECT_TRUE(Load(folder.path() + file) == Load(kValid + file)) << file;
  }
}

TEST_P(GoldenValid, VerifiesAndIsSmall) {
  const std::string path = kValid + std::string(GetParam().name) + ".8vo";
  const auto findings = format::Reader::Verify(path);
  ASSERT_TRUE(findings.ok()) << findings.status().message();
  for (const format::Finding& finding : *findings) {
    ADD_FAILURE() << finding.subject << ": " << finding.status.message();
  }
  EXPECT_LT(std::filesystem::file_size(path), 20'000u);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenValid, ::testing::ValuesIn(Samples().begin(), Samples().end()),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(GoldenValidFolder, HoldsTheSamplesAndTheirShardsOnly) {
  for (const std::string& file : FilesIn(kValid)) {
    const bool is_sample = std::ranges::any_of(
        Samples(), [&](const Sample& sample) { return file == std::string(sample.name) + ".8vo"; });
    EXPECT_TRUE(is_sample || file.starts_with("sharded-")) << file;
  }
}

class GoldenInvalid : public ::testing::TestWithParam<BrokenFile> {};

TEST_P(GoldenInvalid, IsMadeAgainByteForByte) {
  const BrokenFile& broken = GetParam();
  const bool has_codec = broken.sample.starts_with("zstd");
  if (has_codec && ZSTD_versionNumber() / 100 != 105) GTEST_SKIP() << "other frames";
  const Bytes made = broken.make(Load(kValid + std::string(broken.sample) + ".8vo"));
  EXPECT_TRUE(made == Load(kInvalidFolder + std::string(broken.name) + ".8vo"));
}

TEST_P(GoldenInvalid, IsRefusedForItsRule) {
  const BrokenFile& broken = GetParam();
  const std::string path = kInvalidFolder + std::string(broken.name) + ".8vo";
  const auto reader = format::Reader::Open(path, {.verify = true});
  ASSERT_FALSE(reader.ok());
  EXPECT_EQ(reader.code(), broken.code) << reader.status().message();
  const std::string message = reader.status().message();
  EXPECT_NE(message.find(RuleOf(broken.name)), std::string::npos) << message;
  EXPECT_EQ(message.find(path), 0u) << "the path comes first: " << message;
  EXPECT_EQ(message.find(path, 1), std::string::npos) << "and once: " << message;
}

TEST_P(GoldenInvalid, IsFoundByVerify) {
  const BrokenFile& broken = GetParam();
  const auto findings = format::Reader::Verify(kInvalidFolder + std::string(broken.name) + ".8vo");
  ASSERT_TRUE(findings.ok());
  ASSERT_FALSE(findings->empty());
  const std::string message = findings->front().status.message();
  EXPECT_NE(message.find(RuleOf(broken.name)), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenInvalid,
                         ::testing::ValuesIn(BrokenFiles().begin(), BrokenFiles().end()),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(GoldenInvalidFolder, HoldsTheBrokenFilesOnly) {
  EXPECT_EQ(FilesIn(kInvalidFolder).size(), BrokenFiles().size());
}

}  // namespace
}  // namespace octavo::testing
