// Opening liboctavo_cuda.so: every library that must not be used, with the sentence that says why.
#include <gtest/gtest.h>

#include "runtime/cuda_library.h"

namespace octavo {
namespace {

void ExpectRefused(const std::string& named, const std::string& text) {
  const OpenedCudaLibrary opened = OpenCudaLibrary(named.c_str());
  EXPECT_EQ(opened.table, nullptr) << named;
  EXPECT_NE(opened.why_not.find(text), std::string::npos) << opened.why_not;
}

TEST(OpenCudaLibrary, TakesTheOneThatIsNamed) {
  const OpenedCudaLibrary opened = OpenCudaLibrary(OCTAVO_FAKE_CUDA_PATH);
  ASSERT_NE(opened.table, nullptr) << opened.why_not;
  EXPECT_STREQ(opened.table->description, "fake");
  EXPECT_EQ(opened.why_not, "");
}

TEST(OpenCudaLibrary, FilesThatAreNone) {
  ExpectRefused("/nonexistent/liboctavo_cuda.so", "cannot open the CUDA backend: /nonexistent/");
  ExpectRefused("/proc/self/exe", "cannot open the CUDA backend: ");
  ExpectRefused("off", "OCTAVO_CUDA_LIBRARY=off");
}

TEST(OpenCudaLibrary, LibrariesOfSomethingElse) {
  ExpectRefused(OCTAVO_C_PATH, "is no CUDA backend of Octavo");
  ExpectRefused(OCTAVO_NO_TABLE_PATH, "is no CUDA backend of Octavo");
}

TEST(OpenCudaLibrary, OtherVersions) {
  ExpectRefused(OCTAVO_OLD_TABLE_PATH, "has version 0 of the table, and this Octavo needs " +
                                           std::to_string(kernels::kCudaTableVersion));
}

}  // namespace
}  // namespace octavo
