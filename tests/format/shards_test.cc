// An index and its shards: rules R35 to R37, and what happens when a file of the set is not the one
// that is meant.
#include "format/layout.h"
#include "tests/format/octavo_files.h"

namespace octavo::testing {
namespace {

using format::Manifest;
using format::Reader;

class Shards : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteSample("sharded", index_);
    const auto reader = Reader::Open(index_);
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    manifest_ = reader->manifest();
    ASSERT_EQ(manifest_.shards.size(), 2u);
    for (const auto& shard : manifest_.shards) shards_.push_back(folder_ / shard.name);
  }
  Status Open() const { return Reader::Open(index_).status(); }
  void ChangeIndex(const std::function<void(Manifest*)>& change) const {
    Save(index_, WithManifest(Load(index_), change));
  }

  TemporaryFolder folder_;
  std::string index_ = folder_ / "x.8vo";
  Manifest manifest_;
  std::vector<std::string> shards_;
};

TEST_F(Shards, ReadLikeOneFileAndEachIsReadableAlone) {
  const auto whole = Reader::Open(index_, {.verify = true});
  ASSERT_TRUE(whole.ok());
  uint64_t bytes = std::filesystem::file_size(index_);
  for (uint32_t i = 0; i < 2; ++i) {
    bytes += std::filesystem::file_size(shards_[i]);
    const auto shard = Reader::Open(shards_[i], {.verify = true});
    ASSERT_TRUE(shard.ok()) << shard.status().message();
    EXPECT_EQ(shard->header().shard_index, i);
    EXPECT_EQ(shard->header().shard_count, 2u);
    for (const auto& tensor : shard->manifest().tensors) {
      const auto* entry = whole->FindTensor(tensor.name);
      ASSERT_NE(entry, nullptr);
      EXPECT_EQ(entry->shard, i);
      EXPECT_EQ(*whole->ReadAll(*entry), *shard->ReadAll(tensor)) << tensor.name;
    }
  }
  EXPECT_EQ(whole->total_bytes(), bytes);
}

TEST_F(Shards, ATiedHeadIsInTheShardOfItsWeight) {
  for (const std::string& path : shards_) {
    const auto shard = Reader::Open(path);
    ASSERT_TRUE(shard.ok());
    EXPECT_EQ(shard->FindModule("lm_head") != nullptr, shard->FindModule("wte") != nullptr);
  }
}

TEST_F(Shards, R15RejectsAShardThatIsNamedTwice) {
  const Bytes index =
      WithManifest(Load(index_), [](Manifest* m) { m->shards[1].name = m->shards[0].name; });
  ExpectRefused(OpenBytes(index), ErrorCode::kInvalidFile, {"shard \"", "twice", "(R15)"});
}

TEST_F(Shards, R35RejectsPaths) {
  for (const char* name : {"../x.8vo", "/etc/passwd", "a/b", "a\\b", "..", ".", ""}) {
    const Bytes index = WithManifest(Load(index_), [&](Manifest* m) { m->shards[1].name = name; });
    ExpectRefused(OpenBytes(index), ErrorCode::kInvalidFile, {"shard \"", "(R35)"});
  }
}

TEST_F(Shards, R36RejectsAMissingShard) {
  std::filesystem::remove(shards_[1]);
  ExpectRefused(Open(), ErrorCode::kNotFound, {index_, manifest_.shards[1].name, "(R36)"});
  const auto findings = Reader::Verify(index_);
  ASSERT_TRUE(findings.ok());
  ASSERT_EQ(findings->size(), 1u);
  EXPECT_EQ(findings->front().file, manifest_.shards[1].name);
}

TEST_F(Shards, R36RejectsSwappedShards) {
  std::filesystem::rename(shards_[0], folder_ / "t");
  std::filesystem::rename(shards_[1], shards_[0]);
  std::filesystem::rename(folder_ / "t", shards_[1]);
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {manifest_.shards[0].name, "(R36)"});
}

TEST_F(Shards, R36RejectsAShardOfAnotherModel) {
  const Bytes shard = WithReplaced(Load(shards_[0]), "octavo golden 1", "octavo golden 2");
  Save(shards_[0], shard);
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {"another manifest", "(R36)"});
}

TEST_F(Shards, R36RejectsASizeThatTheIndexDoesNotSay) {
  ChangeIndex([](Manifest* m) { m->shards[0].bytes += 64; });
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {manifest_.shards[0].name, "(R36)"});
}

TEST_F(Shards, R36RejectsAnIndexAsItsOwnShard) {
  ChangeIndex([](Manifest* m) { m->shards[0].name = "x.8vo"; });
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {"an index itself", "(R36)"});
}

TEST_F(Shards, R36RejectsTensorsThatDisagree) {
  ChangeIndex([](Manifest* m) { m->tensors[0].dtype = DType::kF16; });
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {"tensor \"wte.weight\"", "(R36)"});
}

TEST_F(Shards, R36RejectsATensorInTheWrongShard) {
  ChangeIndex([](Manifest* m) { m->tensors[0].shard = 1 - m->tensors[0].shard; });
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {"(R36)"});
}

TEST_F(Shards, R36RejectsATensorThatTheIndexLeavesOut) {
  ChangeIndex([](Manifest* m) {
    m->tensors.pop_back();
    m->modules.erase(m->modules.begin() + 3);  // "scale", which names it
  });
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {"tensor \"scale.weight\"", "(R36)"});
}

TEST_F(Shards, R36RejectsModulesThatDisagree) {
  ChangeIndex([](Manifest* m) { m->modules[0].reason = "another"; });
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {"module \"wte\"", "(R36)"});
  const auto findings = Reader::Verify(index_);
  ASSERT_TRUE(findings.ok());
  EXPECT_EQ(findings->size(), 1u);
}

TEST_F(Shards, R36RejectsAnotherQuantization) {
  ChangeIndex([](Manifest* m) { m->quantization.threshold = 3; });
  ExpectRefused(Open(), ErrorCode::kInvalidFile, {"quantization", "(R36)"});
}

TEST_F(Shards, R9RejectsAnotherCount) {
  const Bytes index = Load(index_);
  for (const uint32_t count : {1u, 3u, 0xffffffffu}) {
    const Bytes changed = WithHeaderField(index, format::offset::kShardCount, 4, count);
    ExpectRefused(OpenBytes(changed), ErrorCode::kInvalidFile, {"(R9)"});
  }
  ExpectRefused(OpenBytes(WithHeaderField(index, format::offset::kShardIndex, 4, 1)),
                ErrorCode::kInvalidFile, {"(R9)"});
}

TEST_F(Shards, ASymbolicLinkToAShardIsFollowed) {
  std::filesystem::rename(shards_[0], folder_ / "blob");
  std::filesystem::create_symlink(folder_ / "blob", shards_[0]);
  EXPECT_TRUE(Open().ok());
}

TEST_F(Shards, AFifoInPlaceOfAShardDoesNotHang) {
  std::filesystem::remove(shards_[0]);
  ASSERT_EQ(mkfifo(shards_[0].c_str(), 0600), 0);
  ExpectRefused(Open(), ErrorCode::kIo, {"not a regular file"});
}

}  // namespace
}  // namespace octavo::testing
