#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "octavo/kernels.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

// Sets OCTAVO_CPU for a scope.
class ScopedCpuVariable {
 public:
  explicit ScopedCpuVariable(const char* value) {
    if (const char* old = std::getenv("OCTAVO_CPU")) old_ = old;
    had_old_ = std::getenv("OCTAVO_CPU") != nullptr;
    value == nullptr ? unsetenv("OCTAVO_CPU") : setenv("OCTAVO_CPU", value, 1);
  }
  ~ScopedCpuVariable() {
    had_old_ ? setenv("OCTAVO_CPU", old_.c_str(), 1) : unsetenv("OCTAVO_CPU");
  }

 private:
  std::string old_;
  bool had_old_ = false;
};

TEST(ListCpuKernels, NamesEveryTableBestFirst) {
  EXPECT_EQ(TableNames(),
            (std::vector<std::string>{"amx", "avx512vnni", "avxvnni", "avx2", "portable"}));
  for (const CpuKernelsInfo& info : ListCpuKernels()) {
    EXPECT_FALSE(info.reason.empty()) << info.name;
    if (info.kernels != nullptr) {
      EXPECT_STREQ(info.kernels->name, info.name);
    }
    if (info.supported) {
      EXPECT_NE(info.kernels, nullptr) << info.name;
    }
  }
}

TEST(FindCpuKernels, PortableIsAlwaysThere) {
  const CpuKernels* kernels = FindCpuKernels("portable", nullptr);
  ASSERT_NE(kernels, nullptr);
  EXPECT_STREQ(kernels->name, "portable");
  EXPECT_EQ(kernels->layout, WeightLayout::kPlain);
}

TEST(FindCpuKernels, AutoIsTheFirstSupportedOne) {
  const CpuKernels* best = nullptr;
  for (const CpuKernelsInfo& info : ListCpuKernels()) {
    if (info.supported && best == nullptr) best = info.kernels;
  }
  EXPECT_EQ(FindCpuKernels("", nullptr), best);
  EXPECT_EQ(FindCpuKernels("auto", nullptr), best);
  EXPECT_EQ(FindCpuKernels(nullptr, nullptr), best);
}

TEST(FindCpuKernels, UnknownNameIsAnErrorThatListsTheKnownOnes) {
  std::string why;
  EXPECT_EQ(FindCpuKernels("avx3", &why), nullptr);
  EXPECT_EQ(why,
            "unknown CPU kernels \"avx3\" (known: auto, amx, avx512vnni, avxvnni, avx2, portable)");
  EXPECT_EQ(FindCpuKernels("Portable", nullptr), nullptr);
}

TEST(FindCpuKernels, KnownButUnusableNameSaysWhy) {
  for (const CpuKernelsInfo& info : ListCpuKernels()) {
    if (info.supported) continue;
    std::string why;
    EXPECT_EQ(FindCpuKernels(info.name, &why), nullptr);
    EXPECT_EQ(why, std::string("CPU kernels \"") + info.name + "\": " + info.reason);
  }
}

TEST(SelectCpuKernels, FollowsTheEnvironment) {
  {
    const ScopedCpuVariable variable("portable");
    EXPECT_EQ(SelectCpuKernels(nullptr), FindCpuKernels("portable", nullptr));
  }
  {
    const ScopedCpuVariable variable(nullptr);
    EXPECT_EQ(SelectCpuKernels(nullptr), FindCpuKernels("auto", nullptr));
  }
  const ScopedCpuVariable variable("sse9");
  std::string why;
  EXPECT_EQ(SelectCpuKernels(&why), nullptr);
  EXPECT_EQ(why.rfind("OCTAVO_CPU: unknown CPU kernels \"sse9\"", 0), 0u) << why;
}

}  // namespace
}  // namespace octavo::kernels
