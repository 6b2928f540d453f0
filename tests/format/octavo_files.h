// What the tests of .8vo files share: a folder that goes away, and how a file opens.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "octavo/reader.h"
#include "tests/golden/sample_file.h"
#include "tests/golden/surgery.h"

namespace octavo::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = ::testing::TempDir() + "octavo_format_XXXXXX";
    path_ = std::string(mkdtemp(pattern.data())) + "/";
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  // Ends in '/'.
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + name; }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

 private:
  std::string path_;
};

// Writes the sample of that name to `path`.
inline void WriteSample(std::string_view name, const std::string& path) {
  for (const Sample& sample : Samples()) {
    if (sample.name != name) continue;
    const Status status = sample.write(path);
    ASSERT_TRUE(status.ok()) << status.message();
    return;
  }
  FAIL() << "no sample " << name;
}

inline Bytes SampleBytes(std::string_view name) {
  const TemporaryFolder folder;
  WriteSample(name, folder / "x.8vo");
  return Load(folder / "x.8vo");
}

// What Open, with verification, says about these bytes.
inline Status OpenBytes(std::span<const std::byte> bytes) {
  const TemporaryFolder folder;
  Save(folder / "x.8vo", bytes);
  return format::Reader::Open(folder / "x.8vo", {.verify = true, .num_threads = 1}).status();
}

// The code, and each of `parts` in the message.
inline void ExpectRefused(const Status& status, ErrorCode code,
                          const std::vector<std::string>& parts) {
  EXPECT_EQ(status.code(), code) << status.message();
  for (const std::string& part : parts) {
    EXPECT_NE(status.message().find(part), std::string::npos)
        << "no \"" << part << "\" in: " << status.message();
  }
}

}  // namespace octavo::testing
