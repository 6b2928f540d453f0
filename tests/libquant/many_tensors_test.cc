// Models of many small tensors: twice as many are twice the work, counted, not timed.
#include <gtest/gtest.h>

#include "octavo/repack.h"
#include "tests/libquant/model_folder.h"
#include "tests/testing/work_counters.h"

namespace octavo::quant {
namespace {

using octavo::testing::CountedWork;
using octavo::testing::WorkCounts;
using testing::ModelFolder;

constexpr char kConfig[] = R"({"model_type": "qwen3_moe", "tie_word_embeddings": false})";

// A mixture of experts, each a module of its own, tensors stored by name.
void WriteModel(int layers, ModelFolder* model) {
  model->Add("model.embed_tokens.weight", {4, 4});
  for (int layer = 0; layer < layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.";
    model->Add(prefix + "gate.weight", {100, 4});
    for (int expert = 0; expert < 100; ++expert) {
      const std::string at = prefix + "experts." + std::to_string(expert);
      for (const char* part : {".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"}) {
        model->Add(at + part, {4, 4});
      }
    }
  }
  model->Add("lm_head.weight", {4, 4});
  model->Write(kConfig);
}

template <typename Work>
WorkCounts Counted(Work work) {
  const WorkCounts before = CountedWork();
  const auto result = work();
  EXPECT_TRUE(result.ok()) << result.status().message();
  const WorkCounts after = CountedWork();
  return {after.allocations - before.allocations, after.comparisons - before.comparisons};
}

struct Counts {
  WorkCounts convert, open, verify, repack;
};

Counts CountAll(int layers) {
  ModelFolder model;
  WriteModel(layers, &model);
  const std::string file = model.File("m.8vo");
  Counts counts;
  counts.convert = Counted([&] { return Convert(model.path(), file, {.num_threads = 1}); });
  counts.open = Counted([&] { return format::Reader::Open(file); });
  counts.verify = Counted([&] { return VerifyAgainst(file, model.path(), {.num_threads = 1}); });
  counts.repack = Counted([&] { return Repack(file, model.File("n.8vo"), {.num_threads = 1}); });
  return counts;
}

// Sorting n names takes n log n comparisons: a tenth more than twice, at these sizes.
void ExpectTwice(const WorkCounts& once, const WorkCounts& twice) {
  EXPECT_LT(static_cast<double>(twice.allocations), 2.3 * static_cast<double>(once.allocations));
  EXPECT_LT(static_cast<double>(twice.comparisons), 2.3 * static_cast<double>(once.comparisons));
  EXPECT_GT(once.allocations, 1000u);
  EXPECT_GT(once.comparisons, 1000u);
}

TEST(ManyTensors, TwiceAsManyAreTwiceTheWork) {
  const Counts once = CountAll(4), twice = CountAll(8);
  for (const auto& [name, part] : {std::pair{"convert", &Counts::convert},
                                   {"open", &Counts::open},
                                   {"verify --against", &Counts::verify},
                                   {"repack", &Counts::repack}}) {
    SCOPED_TRACE(name);
    ExpectTwice(once.*part, twice.*part);
  }
}

}  // namespace
}  // namespace octavo::quant
