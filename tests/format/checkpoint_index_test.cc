// Checkpoints that are not whole: folders without weights, indexes that lie or reach outside.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "octavo/checkpoint.h"
#include "tests/format/sources_testing.h"
#include "tests/testing/temp_dir.h"

namespace octavo::format {
namespace {

using ::octavo::testing::ExpectError;
using ::octavo::testing::SafetensorsWith;
using ::octavo::testing::TempDir;

constexpr std::string_view kIndex = "model.safetensors.index.json";

void ExpectOpenFails(const std::string& path, ErrorCode code, const std::string& message) {
  const Result<Checkpoint> checkpoint = Checkpoint::Open(path);
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_EQ(checkpoint.code(), code);
  EXPECT_EQ(checkpoint.status().message(), message);
}

// ---- Folders ----

TEST(CheckpointFolder, SaysWhatItLookedFor) {
  const TempDir dir;
  ExpectOpenFails(dir.File("none"), ErrorCode::kNotFound,
                  "cannot open " + dir.File("none") + ": No such file or directory");
  dir.Write("config.json", "{}");
  const std::string looked = dir.path() +
                             "/: no weights; looked for model.safetensors, pytorch_model.bin and "
                             "their indexes";
  ExpectOpenFails(dir.path(), ErrorCode::kNotFound, looked);
  dir.Write("adapter_model.safetensors", "");
  dir.Write("training_args.bin", "");
  ExpectOpenFails(dir.path(), ErrorCode::kNotFound,
                  looked +
                      "; to read one of its other safetensors files, name it: "
                      "\"adapter_model.safetensors\"");
  std::filesystem::create_directory(dir.File("snapshots"));
  ExpectOpenFails(dir.path(), ErrorCode::kNotFound,
                  looked + "; it is a cache of Hugging Face: name the folder in its snapshots/");
  dir.Write("adapter_config.json", "{}");
  ExpectOpenFails(dir.path(), ErrorCode::kNotFound,
                  looked +
                      "; it is an adapter, which must be merged into its model first (PEFT: "
                      "merge_and_unload)");
}

TEST(CheckpointFolder, SaysWhichPickledWeightsThereAre) {
  const TempDir dir;
  for (int i = 1; i <= 5; ++i) {
    dir.Write("pytorch_model-0000" + std::to_string(i) + "-of-00005.bin", "");
  }
  ExpectOpenFails(
      dir.path(), ErrorCode::kNotFound,
      dir.path() +
          "/: no weights; looked for model.safetensors, pytorch_model.bin and their indexes; to "
          "read one of its other files, name it: \"pytorch_model-00001-of-00005.bin\", "
          "\"pytorch_model-00002-of-00005.bin\", \"pytorch_model-00003-of-00005.bin\" and 2 more");
}

TEST(CheckpointFolder, WeightsMustBeARegularFile) {
  const TempDir dir;
  const std::string path = dir.File("model.safetensors");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  ExpectOpenFails(dir.path(), ErrorCode::kIo, "cannot open " + path + ": not a regular file");
  std::filesystem::remove(path);
  std::filesystem::create_symlink("nowhere", path);
  ExpectOpenFails(dir.path(), ErrorCode::kNotFound,
                  "cannot open " + path + ": No such file or directory");
  ExpectOpenFails("/dev/null", ErrorCode::kIo, "cannot open /dev/null: not a regular file");
}

// ---- Index files ----

class CheckpointIndex : public ::testing::Test {
 protected:
  CheckpointIndex() {
    dir_.Write("in/a.safetensors", SafetensorsWith({"x", "y"}));
    dir_.Write("in/b.safetensors", SafetensorsWith({"z"}));
    dir_.Write("out.safetensors", SafetensorsWith({"x"}));
  }

  Status OpenWith(std::string_view index_text) {
    dir_.Write("in/" + std::string(kIndex), index_text);
    return Checkpoint::Open(dir_.File("in")).status();
  }
  Status OpenWithMap(const std::string& weight_map) {
    return OpenWith("{\"weight_map\":{" + weight_map + "}}");
  }
  void ExpectInvalid(const Status& status, const std::string& message) {
    EXPECT_EQ(status.code(), ErrorCode::kInvalidFile);
    EXPECT_EQ(status.message(), dir_.File("in/" + std::string(kIndex)) + ": " + message);
  }

  const std::string good_ = R"("x":"a.safetensors","y":"a.safetensors","z":"b.safetensors")";
  TempDir dir_;
};

TEST_F(CheckpointIndex, AcceptsTheTruth) { EXPECT_TRUE(OpenWithMap(good_).ok()); }

TEST_F(CheckpointIndex, MustBeAnIndex) {
  ExpectInvalid(OpenWith("{"), "not valid JSON at byte 2");
  ExpectInvalid(OpenWith("[]"), "it is not a JSON object");
  ExpectInvalid(OpenWith("{}"), "it has no weight_map");
  ExpectInvalid(OpenWith(R"({"metadata":{"weight_map":{"x":"a.safetensors"}}})"),
                "it has no weight_map");
  ExpectInvalid(OpenWith(R"({"weight_map":{}})"), "its weight_map is empty");
  for (const char* bad :
       {"[]", "1", "null", "\"x\"", R"({"x":1})", R"({"x":{}})", R"({"x":["a"]})"}) {
    ExpectInvalid(OpenWith("{\"weight_map\":" + std::string(bad) + "}"),
                  "weight_map is not an object of strings");
  }
  ExpectInvalid(OpenWithMap(good_ + "," + good_), "the key \"x\" occurs twice in one object");
  ExpectInvalid(OpenWith("{\"weight_map\":{" + good_ + "},\"weight_map\":{}}"),
                "the key \"weight_map\" occurs twice in one object");
}

TEST_F(CheckpointIndex, CannotReachOutsideItsFolder) {
  const std::string absolute = dir_.File("out.safetensors");
  for (const std::string& name :
       {std::string("../out.safetensors"), absolute, std::string("a/../../out.safetensors"),
        std::string("./a.safetensors"), std::string("sub/a.safetensors"),
        std::string("C:\\\\x.safetensors"), std::string("C:x.safetensors"),
        std::string("\\\\\\\\srv\\\\x.safetensors"), std::string("..\\\\x.safetensors"),
        std::string("a.safetensors\\u0000.safetensors"), std::string("\\u001b[2Ja.safetensors"),
        std::string(".."), std::string("."), std::string(""),
        std::string(300, 'a') + ".safetensors"}) {
    const Status status = OpenWithMap("\"x\":\"" + name + "\"");
    ExpectError(status, ErrorCode::kInvalidFile, ": tensor \"x\": file name ");
    ExpectError(status, ErrorCode::kInvalidFile, "; only files of the same folder can be named");
    EXPECT_EQ(status.message().find('\x1b'), std::string::npos);
  }
}

TEST_F(CheckpointIndex, TensorNamesArePrintable) {
  ExpectError(OpenWithMap(R"("\u001b[2J":"a.safetensors")"), ErrorCode::kInvalidFile,
              "tensor \"\\x1b[2J\": its name has a control character");
}

TEST_F(CheckpointIndex, NamesSafetensorsFilesOnly) {
  ExpectInvalid(OpenWithMap(R"("x":"pytorch_model.bin")"),
                "tensor \"x\": \"pytorch_model.bin\" is not a safetensors file");
}

TEST_F(CheckpointIndex, ShardsAreRegularFiles) {
  const std::string path = dir_.File("in/s.safetensors");
  std::filesystem::create_directory(path);
  ExpectError(OpenWithMap(R"("x":"s.safetensors")"), ErrorCode::kIo, path + ": it is a folder");
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  ExpectError(OpenWithMap(R"("x":"s.safetensors")"), ErrorCode::kIo, path + ": not a regular file");
  std::filesystem::remove(path);
  std::filesystem::create_symlink("s.safetensors", path);  // a loop
  ExpectError(OpenWithMap(R"("x":"s.safetensors")"), ErrorCode::kIo, path);
}

TEST_F(CheckpointIndex, NamesAllMissingShards) {
  const Status status = OpenWithMap(
      R"("x":"a.safetensors","q":"no1.safetensors","r":"no2.safetensors","s":"no2.safetensors")");
  EXPECT_EQ(status.code(), ErrorCode::kNotFound);
  EXPECT_EQ(status.message(), dir_.File("in/" + std::string(kIndex)) +
                                  ": missing shards: \"no1.safetensors\", \"no2.safetensors\"");
}

TEST_F(CheckpointIndex, TensorsOfTheIndexAreInTheShards) {
  ExpectInvalid(OpenWithMap(good_ + R"(,"w":"b.safetensors")"),
                "tensor \"w\": the index places it in \"b.safetensors\", which does not have it");
  ExpectInvalid(
      OpenWithMap(R"("x":"a.safetensors","y":"b.safetensors","z":"b.safetensors")"),
      "tensor \"y\": the index places it in \"b.safetensors\", but it is in \"a.safetensors\"");
}

TEST_F(CheckpointIndex, TensorsOfTheShardsAreInTheIndex) {
  ExpectInvalid(OpenWithMap(R"("x":"a.safetensors","z":"b.safetensors")"),
                "tensor \"y\" is in \"a.safetensors\", but not in the index");
}

TEST_F(CheckpointIndex, NoTensorIsInTwoShards) {
  dir_.Write("in/b.safetensors", SafetensorsWith({"z", "x"}));
  ExpectInvalid(OpenWithMap(good_),
                "tensor \"x\" is in two shards, \"a.safetensors\" and \"b.safetensors\"");
}

TEST_F(CheckpointIndex, ADamagedShardIsNamed) {
  const std::string path = dir_.Write("in/b.safetensors", "12345678");
  ExpectError(OpenWithMap(good_), ErrorCode::kInvalidFile, path + ": not a safetensors file");
}

TEST_F(CheckpointIndex, AWrongTotalSizeIsAWarning) {
  const auto warnings = [&](const std::string& total) {
    EXPECT_TRUE(
        OpenWith("{\"metadata\":{\"total_size\":" + total + "},\"weight_map\":{" + good_ + "}}")
            .ok());
    return Checkpoint::Open(dir_.File("in"))->warnings();
  };
  EXPECT_TRUE(warnings("3").empty());
  EXPECT_TRUE(warnings("3.0").empty());
  EXPECT_TRUE(warnings("\"unknown\"").empty());
  ASSERT_EQ(warnings("4").size(), 1u);
  EXPECT_EQ(warnings("4")[0], dir_.File("in/" + std::string(kIndex)) +
                                  ": its total_size is not that of the tensors, 3 bytes");
}

TEST_F(CheckpointIndex, IsLimitedInSize) {
  const std::string path = dir_.Write("in/" + std::string(kIndex), "{}");
  std::filesystem::resize_file(path, 100'000'001);
  ExpectError(Checkpoint::Open(path).status(), ErrorCode::kInvalidFile, "has 100000001 bytes");
}

}  // namespace
}  // namespace octavo::format
