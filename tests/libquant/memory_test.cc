// Peak memory of a conversion: a constant, not the model. In a child whose data segment is limited.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/libquant/model_folder.h"

namespace octavo::quant {
namespace {

using testing::kGpt2;
using testing::kLlama;
using testing::ModelFolder;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsSanitized = true;  // their shadow memory counts as data
#else
constexpr bool kIsSanitized = false;
#endif

uint64_t DataBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    uint64_t kib = 0;
    if (word == "VmData:" && status >> kib) return kib << 10;
  }
  return 0;
}

// 64 MiB of fp16 in one tensor, 64 in another.
void WriteLargeModel(ModelFolder* model, bool is_gpt2) {
  std::vector<std::byte> bytes(64 << 20);
  uint32_t state = 1;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    state = state * 1664525 + 1013904223;
    bytes[i] = static_cast<std::byte>(state >> 24);
    bytes[i + 1] =
        static_cast<std::byte>(0x28 | (state >> 16 & 0x83));  // magnitudes of a few hundredths
  }
  model->AddBytes(is_gpt2 ? "wte.weight" : "model.embed_tokens.weight", {16384, 2048}, DType::kF16,
                  bytes);
  model->AddBytes(is_gpt2 ? "h.0.mlp.c_fc.weight" : "model.layers.0.mlp.up_proj.weight",
                  {2048, 16384}, DType::kF16, std::move(bytes));
  model->Write(is_gpt2 ? kGpt2 : kLlama);
}

TEST(Convert, NeedsAConstantAmountOfMemory) {
  if (kIsSanitized) GTEST_SKIP() << "sanitizers count their own memory";
  for (const bool is_gpt2 : {false, true}) {
    std::string folder;
    ModelFolder model;
    // The model is made in a child too, so that this process never holds it.
    const pid_t maker = fork();
    if (maker == 0) {
      WriteLargeModel(&model, is_gpt2);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(maker, &status, 0), maker);
    const pid_t child = fork();
    if (child == 0) {
      // Two threads' stacks (8 MiB each as data) and arenas, and a few MiB of buffers for each
      // thread.
      const rlim_t limit = DataBytes() + (48u << 20);
      const rlimit limits{limit, limit};
      setrlimit(RLIMIT_DATA, &limits);
      ConvertOptions options;
      options.num_threads = 2;
      _exit(static_cast<int>(Convert(model.path(), model.File("m.8vo"), options).code()));
    }
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
}

}  // namespace
}  // namespace octavo::quant
