// Checkpoints that are whole: the three forms, the files beside the weights, Hugging Face's cache,
// the shipped models.
#include "octavo/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/format/sources_testing.h"
#include "tests/testing/temp_dir.h"

namespace octavo::format {
namespace {

using ::octavo::testing::ExpectError;
using ::octavo::testing::SafetensorsWith;
using ::octavo::testing::TempDir;
using Names = std::vector<std::string>;

constexpr std::string_view kShard1 = "model-00001-of-00002.safetensors";
constexpr std::string_view kShard2 = "model-00002-of-00002.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kIndexText =
    R"({"metadata":{"total_size":3,"more":[1]},"weight_map":{)"
    R"("c":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors",)"
    R"("a":"model-00001-of-00002.safetensors"},"other":null})";

void WriteSharded(const TempDir& dir, const std::string& folder = "") {
  dir.Write(folder + std::string(kShard1), SafetensorsWith({"b", "a"}));
  dir.Write(folder + std::string(kShard2), SafetensorsWith({"c"}));
  dir.Write(folder + std::string(kIndex), kIndexText);
}

Names TensorNames(const Checkpoint& checkpoint) {
  Names names;
  for (const SourceTensor& tensor : checkpoint.tensors()) names.push_back(tensor.name);
  return names;
}

Names FileNames(const Checkpoint& checkpoint) {
  Names names;
  for (const CheckpointFile& file : checkpoint.files()) names.push_back(file.name);
  return names;
}

Checkpoint OpenOrDie(const std::string& path) {
  Result<Checkpoint> checkpoint = Checkpoint::Open(path);
  if (!checkpoint.ok()) {
    ADD_FAILURE() << checkpoint.status().message();
    std::abort();
  }
  return std::move(*checkpoint);
}

TEST(Checkpoint, OpensAFile) {
  const TempDir dir;
  const std::string path = dir.Write("any.safetensors", SafetensorsWith({"x", "y"}, 2));
  dir.Write("config.json", "{\"model_type\":\"gpt2\"}");
  dir.Write("tokenizer.json", "{}");
  const Checkpoint checkpoint = OpenOrDie(path);
  ASSERT_EQ(checkpoint.files().size(), 1u);
  EXPECT_EQ(checkpoint.files()[0].path, path);
  EXPECT_EQ(checkpoint.files()[0].name, "any.safetensors");
  EXPECT_EQ(checkpoint.files()[0].bytes, std::filesystem::file_size(path));
  EXPECT_EQ(TensorNames(checkpoint), (Names{"x", "y"}));
  EXPECT_EQ(checkpoint.config_json(), "{\"model_type\":\"gpt2\"}");
  EXPECT_EQ(checkpoint.assets(), (Names{"config.json", "tokenizer.json"}));
  EXPECT_EQ(checkpoint.warnings(), Names());
  EXPECT_TRUE(checkpoint.CheckUnchanged().ok());
  std::byte bytes[2];
  const SourceTensor* y = checkpoint.Find("y");
  ASSERT_NE(y, nullptr);
  EXPECT_EQ(y->shape, Shape({2}));
  ASSERT_TRUE(checkpoint.ReadAt(y->file, y->offset, bytes).ok());
  EXPECT_EQ(bytes[0], std::byte{2});
  EXPECT_EQ(bytes[1], std::byte{3});
  EXPECT_EQ(checkpoint.Find("z"), nullptr);
  ExpectError(checkpoint.ReadAt(1, 0, bytes), ErrorCode::kInvalidArgument, "no file 1");
  ExpectError(checkpoint.ReadAsset("vocab.json").status(), ErrorCode::kNotFound, "\"vocab.json\"");
}

TEST(Checkpoint, OpensAFileOfTheCurrentFolder) {
  const TempDir dir;
  dir.Write("w.safetensors", SafetensorsWith({"x"}));
  dir.Write("config.json", "{}");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  const Result<Checkpoint> file = Checkpoint::Open("w.safetensors");
  std::filesystem::rename("w.safetensors", "model.safetensors");
  const Result<Checkpoint> folder = Checkpoint::Open(".");
  std::filesystem::current_path(before);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->config_json(), "{}");
  EXPECT_TRUE(folder.ok()) << folder.status().message();
}

TEST(Checkpoint, OpensAFolderWithOneFile) {
  const TempDir dir;
  dir.Write("model.safetensors", SafetensorsWith({"x"}));
  dir.Write("activations.safetensors", "not even safetensors");
  dir.Write("model-00001-of-00002.safetensors", "old");
  const Checkpoint checkpoint = OpenOrDie(dir.path() + "//");
  EXPECT_EQ(FileNames(checkpoint), (Names{"model.safetensors"}));
  EXPECT_EQ(checkpoint.files()[0].path, dir.File("model.safetensors"));
  EXPECT_EQ(checkpoint.config_json(), "");
  EXPECT_EQ(checkpoint.assets(), Names());
}

TEST(Checkpoint, OpensShardsByFolderOrIndex) {
  const TempDir dir;
  WriteSharded(dir);
  dir.Write("consolidated.safetensors", "no part of the model");
  for (const std::string& path : {dir.path(), dir.File(kIndex)}) {
    const Checkpoint checkpoint = OpenOrDie(path);
    EXPECT_EQ(FileNames(checkpoint), (Names{std::string(kShard1), std::string(kShard2)}));
    EXPECT_EQ(TensorNames(checkpoint), (Names{"b", "a", "c"}));
    EXPECT_EQ(checkpoint.Find("c")->file, 1u);
    EXPECT_EQ(checkpoint.Find("a")->file, 0u);
    EXPECT_EQ(checkpoint.warnings(), Names());
  }
}

TEST(Checkpoint, PrefersTheSingleFileAndSaysSo) {
  const TempDir dir;
  WriteSharded(dir);
  dir.Write("model.safetensors", SafetensorsWith({"x"}));
  const Checkpoint checkpoint = OpenOrDie(dir.path());
  EXPECT_EQ(TensorNames(checkpoint), (Names{"x"}));
  ASSERT_EQ(checkpoint.warnings().size(), 1u);
  EXPECT_EQ(
      checkpoint.warnings()[0],
      dir.path() + "/: model.safetensors is read, model.safetensors.index.json beside it is not");
}

TEST(Checkpoint, WarnsOfALoneShard) {
  const TempDir dir;
  WriteSharded(dir);
  const Checkpoint checkpoint = OpenOrDie(dir.File(kShard1));
  ASSERT_EQ(checkpoint.warnings().size(), 1u);
  EXPECT_EQ(checkpoint.warnings()[0],
            dir.File(kShard1) + " is one shard of a model; name its folder to read all of it");
}

// snapshots/REVISION/NAME are links to ../../blobs/DIGEST; the folder that the user names may be a
// link too.
TEST(Checkpoint, FollowsTheLinksOfTheHuggingFaceCache) {
  const TempDir dir;
  WriteSharded(dir, "blobs/");
  dir.Write("blobs/config.json", "{}");
  std::filesystem::create_directories(dir.File("snapshots/abc"));
  for (const std::string_view name : {kShard1, kShard2, kIndex, std::string_view("config.json")}) {
    const std::string blob = dir.File("blobs/digest-of-" + std::string(name));
    std::filesystem::rename(dir.File("blobs/" + std::string(name)), blob);
    std::filesystem::create_symlink("../../blobs/digest-of-" + std::string(name),
                                    dir.File("snapshots/abc/" + std::string(name)));
  }
  std::filesystem::create_directory_symlink("snapshots/abc", dir.File("linked"));
  for (const std::string path :
       {"snapshots/abc", "linked", "linked/model.safetensors.index.json"}) {
    const Checkpoint checkpoint = OpenOrDie(dir.File(path));
    EXPECT_EQ(FileNames(checkpoint), (Names{std::string(kShard1), std::string(kShard2)}));
    EXPECT_EQ(checkpoint.config_json(), "{}");
  }
  std::filesystem::remove(dir.File("blobs/digest-of-" + std::string(kShard2)));
  ExpectError(Checkpoint::Open(dir.File("linked")).status(), ErrorCode::kNotFound,
              "missing shards: \"" + std::string(kShard2) + "\"");
}

TEST(Checkpoint, TakesEachKindOfAsset) {
  const TempDir dir;
  dir.Write("model.safetensors", SafetensorsWith({"x"}));
  const Names all = {"added_tokens.json",
                     "chat_template.jinja",
                     "chat_template.json",
                     "config.json",
                     "generation_config.json",
                     "merges.txt",
                     "preprocessor_config.json",
                     "sentencepiece.bpe.model",
                     "special_tokens_map.json",
                     "spiece.model",
                     "tokenizer.json",
                     "tokenizer.model",
                     "tokenizer_config.json",
                     "vocab.json",
                     "vocab.txt"};
  for (const std::string& name : all) dir.Write(name, name == "config.json" ? "{}" : "of " + name);
  dir.Write("README.md", "no asset");
  dir.Write("training_args.bin", "no asset");
  const Checkpoint checkpoint = OpenOrDie(dir.path());
  EXPECT_EQ(checkpoint.assets(), all);
  const Result<std::string> vocab = checkpoint.ReadAsset("vocab.txt");
  ASSERT_TRUE(vocab.ok());
  EXPECT_EQ(*vocab, "of vocab.txt");
  ExpectError(checkpoint.ReadAsset("README.md").status(), ErrorCode::kNotFound, "README.md");
  ExpectError(checkpoint.ReadAsset("../x").status(), ErrorCode::kNotFound, "../x");
}

TEST(Checkpoint, LeavesOutAssetsItCannotEmbedWithAWarning) {
  const TempDir dir;
  dir.Write("model.safetensors", SafetensorsWith({"x"}));
  std::filesystem::resize_file(dir.Write("tokenizer.json", ""), (uint64_t{1} << 30) + 1);
  std::filesystem::resize_file(dir.Write("vocab.json", ""), uint64_t{1} << 30);
  std::filesystem::create_directory(dir.File("merges.txt"));
  std::filesystem::create_symlink("nowhere", dir.File("vocab.txt"));
  ASSERT_EQ(mkfifo(dir.File("tokenizer.model").c_str(), 0600), 0);
  const Checkpoint checkpoint = OpenOrDie(dir.path());
  EXPECT_EQ(checkpoint.assets(), (Names{"vocab.json"}));
  EXPECT_EQ(
      checkpoint.warnings(),
      (Names{
          "cannot open " + dir.File("merges.txt") + ": it is a folder; it is left out",
          dir.File("tokenizer.json") + " is larger than 1 GiB; it is left out",
          "cannot open " + dir.File("tokenizer.model") + ": not a regular file; it is left out",
          "cannot open " + dir.File("vocab.txt") + ": No such file or directory; it is left out"}));
}

TEST(Checkpoint, ConfigMustBeAJsonObject) {
  const TempDir dir;
  dir.Write("model.safetensors", SafetensorsWith({"x"}));
  const auto expect = [&](std::string_view content, const std::string& message) {
    const std::string path = dir.Write("config.json", content);
    const Status status = Checkpoint::Open(dir.path()).status();
    EXPECT_EQ(status.code(), ErrorCode::kInvalidFile);
    EXPECT_EQ(status.message(), path + ": " + message);
  };
  expect("", "not valid JSON at byte 1");
  expect("{\"a\":1,}", "not valid JSON at byte 8");
  expect("{\"a\":{\"b\":1,\"b\":2}}", "the key \"b\" occurs twice in one object");
  expect("[]", "it is not a JSON object");
  expect("7", "it is not a JSON object");
  expect("\xEF\xBB\xBF{}", "not valid JSON at byte 1: a byte order mark");
  expect("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}",
         "its JSON is nested too deeply");
  const uint64_t limit = uint64_t{16} << 20;
  expect("{}" + std::string(limit - 1, ' '),
         "it has 16777217 bytes; a configuration has at most 16 MiB");
  dir.Write("config.json", "{}" + std::string(limit - 2, ' '));
  EXPECT_TRUE(Checkpoint::Open(dir.path()).ok());
}

TEST(Checkpoint, ConfigMustBeReadable) {
  const TempDir dir;
  dir.Write("model.safetensors", SafetensorsWith({"x"}));
  std::filesystem::create_symlink("nowhere", dir.File("config.json"));
  ExpectError(Checkpoint::Open(dir.path()).status(), ErrorCode::kNotFound, dir.File("config.json"));
  std::filesystem::remove(dir.File("config.json"));
  std::filesystem::create_directory(dir.File("config.json"));
  ExpectError(Checkpoint::Open(dir.path()).status(), ErrorCode::kIo, dir.File("config.json"));
}

TEST(Checkpoint, NoticesChangesOfWeightsAndAssets) {
  const TempDir dir;
  WriteSharded(dir);
  dir.Write("tokenizer.json", "{}");
  for (const std::string_view name : {kShard2, std::string_view("tokenizer.json")}) {
    const Checkpoint checkpoint = OpenOrDie(dir.path());
    EXPECT_TRUE(checkpoint.CheckUnchanged().ok());
    const std::string content = dir.Read(name);
    dir.Write(name, content + " ");
    ExpectError(checkpoint.CheckUnchanged(), ErrorCode::kIo, dir.File(name));
    dir.Write(name, content);
  }
}

TEST(Checkpoint, OpensTheShippedModels) {
  const std::string models = std::string(OCTAVO_TEST_DATA) + "/models/";
  const Checkpoint gpt2 = OpenOrDie(models + "gpt2-novels-outliers");
  EXPECT_EQ(FileNames(gpt2), (Names{"model.safetensors"}));
  EXPECT_EQ(gpt2.tensors().size(), 76u);
  EXPECT_NE(gpt2.config_json().find("gpt2"), std::string::npos);
  EXPECT_EQ(gpt2.warnings(), Names());
  const Checkpoint llama = OpenOrDie(models + "llama-novels");
  EXPECT_EQ(llama.files().size(), 3u);
  EXPECT_EQ(llama.tensors().size(), 57u);
  EXPECT_EQ(llama.warnings(), Names());
  EXPECT_EQ(llama.assets(), (Names{"config.json", "generation_config.json", "tokenizer.json",
                                   "tokenizer_config.json"}));
  for (const Checkpoint* model : {&gpt2, &llama}) {
    const std::vector<SourceTensor>& tensors = model->tensors();
    for (size_t i = 1; i < tensors.size(); ++i) {
      EXPECT_TRUE(tensors[i - 1].file < tensors[i].file ||
                  tensors[i - 1].offset + tensors[i - 1].bytes == tensors[i].offset);
    }
  }
}

}  // namespace
}  // namespace octavo::format
