// Which GPUs the CUDA backend runs on, and what it says about the others.
#include "kernels/cuda/support.h"

#include <gtest/gtest.h>

namespace octavo::cuda {
namespace {

constexpr const char* kAll = "75-real,80,86-real,89-real,90-real,90a-real,100-real,120";

void Expect(const char* architectures, int32_t compute_capability, bool usable,
            const std::string& reason) {
  const DeviceVerdict verdict = JudgeDevice(architectures, compute_capability, false);
  EXPECT_EQ(verdict.usable, usable) << architectures << " on " << compute_capability;
  EXPECT_EQ(verdict.reason, reason);
}

TEST(JudgeDevice, TakesTheNearestMachineCodeOfItsGeneration) {
  Expect(kAll, 75, true, "compute capability 7.5, sm_75");
  Expect(kAll, 80, true, "compute capability 8.0, sm_80");
  Expect(kAll, 87, true, "compute capability 8.7, sm_86");
  Expect(kAll, 90, true, "compute capability 9.0, sm_90 and sm_90a");
  Expect(kAll, 103, true, "compute capability 10.3, sm_100");
  Expect(kAll, 121, true, "compute capability 12.1, sm_120");
}

TEST(CodeCapability, IsThatOfTheCodeAndNotOfTheDevice) {
  EXPECT_EQ(CodeCapability(kAll, 90), 90);
  EXPECT_EQ(CodeCapability(kAll, 87), 86);
  EXPECT_EQ(CodeCapability(kAll, 110), 80);  // PTX of 8.0: without TMA
  EXPECT_EQ(CodeCapability(kAll, 121), 120);
  EXPECT_EQ(CodeCapability("80", 90), 80);
  EXPECT_EQ(CodeCapability("90a-real", 90), 90);
  EXPECT_EQ(CodeCapability("90a-real", 100), 0);
}

TEST(JudgeDevice, TakesPtxWhereThereIsNoMachineCode) {
  Expect(kAll, 110, true, "compute capability 11.0, PTX 8.0");
  Expect(kAll, 130, true, "compute capability 13.0, PTX 12.0");
  Expect("80-virtual", 90, true, "compute capability 9.0, PTX 8.0");
}

TEST(JudgeDevice, RefusesWhatItHasNoCodeFor) {
  Expect("86-real", 80, false, "compute capability 8.0; this library was built for sm_86");
  Expect("90", 89, false, "compute capability 8.9; this library was built for sm_90; PTX 9.0");
  Expect("80-real", 90, false, "compute capability 9.0; this library was built for sm_80");
}

TEST(JudgeDevice, SpecificCodeRunsOnItsOwnDeviceOnly) {
  // Built for nothing else, everything is in it; else it is one kernel of several.
  Expect("90a", 90, true, "compute capability 9.0, sm_90a");
  Expect("90a", 100, false, "compute capability 10.0; this library was built for sm_90a; PTX 9.0");
  Expect("80-real,90a-real", 90, false,
         "compute capability 9.0; this library was built for sm_80, sm_90a");
}

TEST(JudgeDevice, RefusesOldDevicesAndProhibitedOnes) {
  Expect(kAll, 70, false, "compute capability 7.0; the kernels need 7.5 or more");
  Expect("70-real", 70, false, "compute capability 7.0; the kernels need 7.5 or more");
  const DeviceVerdict prohibited = JudgeDevice(kAll, 90, true);
  EXPECT_FALSE(prohibited.usable);
  EXPECT_NE(prohibited.reason.find("compute mode is Prohibited"), std::string::npos);
}

TEST(DescribeArchitectures, CodeBeforePtx) {
  EXPECT_EQ(DescribeArchitectures(kAll),
            "sm_75, sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100, sm_120; PTX 8.0, 12.0");
  EXPECT_EQ(DescribeArchitectures("80-virtual"), "PTX 8.0");
  EXPECT_EQ(DescribeArchitectures("80-real"), "sm_80");
}

TEST(WhyNoDriver, TellsAbsentFromOld) {
  EXPECT_EQ(WhyNoDriver(0, 13000), "no NVIDIA driver is installed");
  EXPECT_EQ(WhyNoDriver(12080, 13010),
            "the NVIDIA driver is too old: it has CUDA 12.8, and CUDA 13.0 or newer is needed");
}

}  // namespace
}  // namespace octavo::cuda
