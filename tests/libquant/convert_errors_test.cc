// What can go wrong around a conversion: nothing may be left behind, and an old output stays.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "libquant/output_path.h"
#include "tests/libquant/model_folder.h"

namespace octavo::quant {
namespace {

using testing::FilesIn;
using testing::kLlama;
using testing::ModelFolder;

void AddLayers(ModelFolder* model, int layers) {
  for (int layer = 0; layer < layers; ++layer) {
    model->Add("model.layers." + std::to_string(layer) + ".mlp.up_proj.weight", {1024, 1024});
  }
}

// A callback that says no at its n-th call (from 0); *calls counts.
ProgressCallback CancelAt(int n, int* calls) {
  return [n, calls](const Progress& progress) {
    EXPECT_NE(progress.tensor, nullptr);
    EXPECT_LE(progress.bytes_done, progress.bytes_total);
    return (*calls)++ != n;
  };
}

TEST(Convert, LeavesNothingWhereverItIsCancelled) {
  ModelFolder model;
  AddLayers(&model, 8);
  model.Write(kLlama);
  for (int n = 0;; ++n) {
    ASSERT_LT(n, 1000);
    int calls = 0;
    ConvertOptions options;
    options.num_threads = 3;
    options.on_nonfinite = OnNonfinite::kSkip;  // both passes can be cancelled
    options.max_shard_bytes = n % 2 == 0 ? 0 : 3 << 20;
    options.save_interval_bytes = uint64_t{1} << 30;  // nothing to go on from
    options.progress = CancelAt(n, &calls);
    const Result<ConvertReport> report = Convert(model.path(), model.File("m.8vo"), options);
    if (report.ok()) {
      EXPECT_GE(n, 2);  // the first call and the last one at least
      break;
    }
    EXPECT_EQ(report.code(), ErrorCode::kCancelled);
    EXPECT_EQ(calls, n + 1);
    EXPECT_EQ(FilesIn(model.dir().path()), std::vector<std::string>{"model"});
  }
}

TEST(Convert, ReportsEveryByteAtTheEnd) {
  ModelFolder model;
  AddLayers(&model, 2);
  model.Add("model.norm.weight", {16}).Write(kLlama);
  Progress last;
  ConvertOptions options;
  options.progress = [&](const Progress& progress) {
    last = progress;
    return true;
  };
  ASSERT_TRUE(Convert(model.path(), model.File("m.8vo"), options).ok());
  EXPECT_EQ(last.bytes_done, last.bytes_total);
  EXPECT_EQ(last.bytes_total, 2 * 2 * 1024 * 1024 + 32u);
}

TEST(Convert, LeavesAnExistingOutputAlone) {
  ModelFolder model;
  model.Add("a.weight", {4, 4}).Write("{}");
  model.dir().Write("m.8vo", "mine");
  EXPECT_EQ(Convert(model.path(), model.File("m.8vo"), {}).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(model.dir().Read("m.8vo"), "mine");
  ConvertOptions options;
  options.overwrite = true;
  options.progress = [](const Progress&) { return false; };
  EXPECT_EQ(Convert(model.path(), model.File("m.8vo"), options).code(), ErrorCode::kCancelled);
  EXPECT_EQ(model.dir().Read("m.8vo"), "mine");
  options.progress = nullptr;
  EXPECT_TRUE(Convert(model.path(), model.File("m.8vo"), options).ok());
  EXPECT_NE(model.dir().Read("m.8vo"), "mine");
}

TEST(Convert, RefusesToWriteOverItsSource) {
  ModelFolder model;
  model.Add("a.weight", {4, 4}).Write("{}");
  const std::string source = model.path() + "/model.safetensors";
  std::filesystem::create_hard_link(source, model.File("link.8vo"));
  std::filesystem::create_symlink(source, model.File("symlink.8vo"));
  const std::string before = model.dir().Read("model/model.safetensors");
  ConvertOptions options;
  options.overwrite = true;
  for (const std::string& output : {source, model.File("link.8vo"), model.File("symlink.8vo")}) {
    EXPECT_EQ(Convert(model.path(), output, options).code(), ErrorCode::kInvalidArgument) << output;
  }
  EXPECT_EQ(model.dir().Read("model/model.safetensors"), before);
}

TEST(Convert, RefusesAQuantizedSource) {
  ModelFolder model;
  model.AddBytes("a.qweight", {4, 4}, DType::kI32, std::vector<std::byte>(64)).Write("{}");
  const Result<ConvertReport> report = Convert(model.path(), model.File("m.8vo"), {});
  EXPECT_EQ(report.code(), ErrorCode::kRefused);
  EXPECT_NE(report.status().message().find("quantized already"), std::string::npos);
}

TEST(Convert, SaysWhatIsMissing) {
  ModelFolder model;
  EXPECT_EQ(Convert(model.File("nowhere"), model.File("m.8vo"), {}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(Convert(model.path(), model.File("m.8vo"), {}).code(), ErrorCode::kNotFound);
  model.Add("a.weight", {4, 4}).Write("{}");
  EXPECT_EQ(Convert(model.path(), model.File("no/folder/m.8vo"), {}).code(), ErrorCode::kNotFound);
  model.Write("{");
  EXPECT_EQ(Convert(model.path(), model.File("m.8vo"), {}).code(), ErrorCode::kInvalidFile);
}

// A full disk, by a limit on the size of files: in a child, since the limit stays.
TEST(Convert, LeavesNothingOnAFullDisk) {
  ModelFolder model;
  AddLayers(&model, 4);
  model.Write(kLlama);
  for (const rlim_t limit : {rlim_t{100}, rlim_t{1} << 20, rlim_t{4200000}}) {
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limits{limit, limit};
      setrlimit(RLIMIT_FSIZE, &limits);
      _exit(
          static_cast<int>(Convert(model.path(), model.File("m.8vo"), {.num_threads = 2}).code()));
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(ErrorCode::kIo)) << limit;
    EXPECT_EQ(FilesIn(model.dir().path()), std::vector<std::string>{"model"});
  }
}

TEST(CheckDiskSpace, NamesBothNumbers) {
  const Status status = CheckDiskSpace("/tmp/x.8vo", uint64_t{1} << 60);
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_NE(status.message().find("needs 1099511627776 MiB"), std::string::npos)
      << status.message();
  EXPECT_NE(status.message().find("MiB free"), std::string::npos);
  EXPECT_TRUE(CheckDiskSpace("/tmp/x.8vo", 1).ok());
}

// Changes the source at the first report of progress.
void ConvertWhile(const std::function<void(const std::string&)>& change) {
  ModelFolder model;
  AddLayers(&model, 8);
  model.Write(kLlama);
  bool is_done = false;
  ConvertOptions options;
  options.num_threads = 1;
  options.progress = [&](const Progress&) {
    if (!is_done) change(model.path() + "/model.safetensors");
    is_done = true;
    return true;
  };
  const Result<ConvertReport> report = Convert(model.path(), model.File("m.8vo"), options);
  EXPECT_EQ(report.code(), ErrorCode::kIo) << report.status().message();
  EXPECT_EQ(FilesIn(model.dir().path()), std::vector<std::string>{"model"});
}

TEST(Convert, NoticesASourceThatShrinks) {
  ConvertWhile([](const std::string& path) { ASSERT_EQ(truncate(path.c_str(), 1 << 20), 0); });
}

TEST(Convert, NoticesASourceThatChanges) {
  ConvertWhile([](const std::string& path) {
    const timespec times[2] = {{1, 0}, {1, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  });
}

}  // namespace
}  // namespace octavo::quant
