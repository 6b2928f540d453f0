// The emulation's own rules (tests/simt/simt.h): kernels that break one are reported, and what a
// device leaves to chance does happen.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/error.h"
#include "kernels/cuda/primitives.h"
#include "simt.h"
#include "tests/testing/random.h"

namespace octavo::cuda {
namespace {

using simt::LaunchShape;

class Emulation : public ::testing::Test {
 protected:
  void SetUp() override { simt::SetSeed(seed_); }

  const uint64_t seed_ = octavo::testing::TestSeed();
  const ::testing::ScopedTrace trace_{__FILE__, __LINE__, octavo::testing::SeedText(seed_)};
};

void ExpectFailure(const LaunchShape& shape, const std::function<void()>& thread,
                   const std::string& text) {
  ClearError();
  EXPECT_EQ(simt::Run(shape, thread), CudaStatus::kFailed);
  EXPECT_NE(std::string(LastError()).find(text), std::string::npos)
      << "found:    " << LastError() << "\nexpected: " << text;
}

// The kernel gives `right()` with some orders of events and not with others.
void ExpectChance(const LaunchShape& shape, const std::function<void()>& thread,
                  const std::function<bool()>& right) {
  int num_right = 0;
  constexpr int kSeeds = 200;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    simt::SetSeed(seed);
    ASSERT_EQ(simt::Run(shape, thread), CudaStatus::kOk) << LastError();
    num_right += right() ? 1 : 0;
  }
  EXPECT_GT(num_right, 0);
  EXPECT_LT(num_right, kSeeds);
}

uint64_t* BarrierAt(int offset) { return reinterpret_cast<uint64_t*>(SharedMemory() + offset); }

void InitBarrier(uint64_t* barrier, uint32_t count) {
  if (ThreadIdx() == 0) {
    MbarrierInit(barrier, count);
    MbarrierInitFence();
  }
  BlockSync();
}

TEST_F(Emulation, RunsEveryThreadOnce) {
  std::multiset<std::vector<int>> seen;
  ASSERT_EQ(simt::Run({.grid_x = 4, .grid_y = 3, .grid_z = 2, .threads = 64, .cluster = 2},
                      [&] {
                        EXPECT_EQ(ClusterRank(), BlockX() % 2);
                        EXPECT_EQ(GridX(), 4);
                        EXPECT_EQ(GridY(), 3);
                        seen.insert({BlockX(), BlockY(), BlockZ(), ThreadIdx()});
                      }),
            CudaStatus::kOk)
      << LastError();
  EXPECT_EQ(seen.size(), 4u * 3 * 2 * 64);
  EXPECT_EQ(std::set<std::vector<int>>(seen.begin(), seen.end()).size(), seen.size());
}

TEST_F(Emulation, EqualSeedsGiveEqualOrders) {
  const auto order = [](uint64_t seed) {
    std::vector<int> threads;
    simt::SetSeed(seed);
    EXPECT_EQ(simt::Run({.threads = 128},
                        [&] {
                          WarpSync();
                          threads.push_back(ThreadIdx());
                        }),
              CudaStatus::kOk);
    return threads;
  };
  EXPECT_EQ(order(seed_), order(seed_));
  EXPECT_NE(order(seed_), order(seed_ + 2));
}

TEST_F(Emulation, RefusesShapesThatNoDeviceLaunches) {
  const auto nothing = [] {};
  for (const LaunchShape& shape :
       {LaunchShape{.threads = 0}, LaunchShape{.threads = 33}, LaunchShape{.threads = 1056},
        LaunchShape{.grid_x = 0, .threads = 32}, LaunchShape{.grid_y = 65536, .threads = 32},
        LaunchShape{.grid_x = 3, .threads = 32, .cluster = 2},
        LaunchShape{.grid_x = 16, .threads = 32, .cluster = 16},
        LaunchShape{.threads = 32, .shared_bytes = 227 * 1024 + 1}})
    EXPECT_EQ(simt::Run(shape, nothing), CudaStatus::kInvalidArgument) << LastError();
}

TEST_F(Emulation, ReportsDivergence) {
  ExpectFailure(
      {.threads = 32}, [] { LaneIdx() == 5 ? WarpSync() : static_cast<void>(Ballot(true)); },
      " of its warp are at ");
  ExpectFailure(
      {.threads = 64}, [] { NamedSync(LaneIdx() < 16 ? 1 : 2, 64); }, "at NamedSync");
  ExpectFailure(
      {.threads = 32},
      [] {
        if (LaneIdx() == 7) return;
        WarpSync();
      },
      "exit");
}

TEST_F(Emulation, ReportsDeadlocksWithWhoWaits) {
  ExpectFailure(
      {.threads = 64, .shared_bytes = 64},
      [] {
        InitBarrier(BarrierAt(32), 3);
        if (ThreadIdx() == 40) MbarrierArrive(BarrierAt(32));
        if (ThreadIdx() < 32) {
          MbarrierWait(BarrierAt(32), 0);
        } else {
          BlockSync();
        }
      },
      "wait for phase 0 of the mbarrier at offset 32 (2 of 3 arrivals and 0 bytes missing)");
  EXPECT_NE(std::string(LastError()).find("warp 1: waits at BlockSync"), std::string::npos)
      << LastError();
}

TEST_F(Emulation, BlockBarriersDoNotWaitForExitedWarps) {
  EXPECT_EQ(simt::Run({.threads = 96},
                      [] {
                        if (ThreadIdx() < 32) return;
                        BlockSync();
                      }),
            CudaStatus::kOk)
      << LastError();
  EXPECT_EQ(simt::Run({.grid_x = 2, .threads = 64, .cluster = 2},
                      [] {
                        if (ClusterRank() == 0 && ThreadIdx() >= 32) return;
                        ClusterSync();
                      }),
            CudaStatus::kOk)
      << LastError();
}

TEST_F(Emulation, ReportsNamedBarriersOfDifferingCounts) {
  ExpectFailure(
      {.threads = 96}, [] { NamedSync(1, ThreadIdx() < 64 ? 96 : 64); }, "NamedSync(1, ");
  ExpectFailure(
      {.threads = 32}, [] { NamedSync(0, 32); }, "ids are 1 to 15");
  ExpectFailure(
      {.threads = 32}, [] { NamedSync(1, 40); }, "whole warps");
}

TEST_F(Emulation, ReportsArrivalsThatNobodyMeets) {
  ExpectFailure(
      {.threads = 64},
      [] {
        if (ThreadIdx() < 32) NamedArrive(1, 64);
      },
      "exits while barrier 1 waits");
}

TEST_F(Emulation, ReportsSharedMemoryOutOfBounds) {
  const LaunchShape shape = {.threads = 32, .shared_bytes = 512};
  uint32_t r[4];
  ExpectFailure(
      shape, [&] { LoadMatrix4(r, SharedMemory() + 512); }, "are not in the block's 512");
  ExpectFailure(
      shape, [&] { LoadMatrix4(r, SharedMemory() + 8); }, "not 16-byte aligned");
  ExpectFailure(
      shape, [&] { CpAsync16(SharedMemory() - 16, nullptr, false); }, "offset -16");
  ExpectFailure(
      shape, [] { SharedMemory()[512] = 1; }, "written past the end of shared memory");
}

TEST_F(Emulation, ReportsMisalignedGlobalAddresses) {
  alignas(16) unsigned char memory[64] = {};
  const LaunchShape shape = {.threads = 32, .shared_bytes = 16};
  ExpectFailure(
      shape, [&] { Load16(memory + 8); }, "Load16");
  ExpectFailure(
      shape, [&] { LoadStream16(memory + 4); }, "LoadStream16");
  ExpectFailure(
      shape, [&] { Store16(memory + 1, {}); }, "Store16");
  ExpectFailure(
      shape, [&] { CpAsync16(SharedMemory(), memory + 2, true); }, "CpAsync16");
}

TEST_F(Emulation, PoisonsSharedMemory) {
  bool is_zero = false;
  ASSERT_EQ(simt::Run({.threads = 32, .shared_bytes = 64},
                      [&] { is_zero = is_zero || SharedMemory()[LaneIdx()] == 0; }),
            CudaStatus::kOk);
  EXPECT_FALSE(is_zero);
}

TEST_F(Emulation, ReportsMbarriersUsedWrongly) {
  const LaunchShape shape = {.threads = 32, .shared_bytes = 64};
  ExpectFailure(
      shape, [] { MbarrierArrive(BarrierAt(0)); }, "is not initialized");
  ExpectFailure(
      shape, [] { MbarrierWait(BarrierAt(4), 0); }, "not 8-byte aligned");
  ExpectFailure(
      shape,
      [] {
        InitBarrier(BarrierAt(0), 32);
        SharedMemory()[3] = 1;
        MbarrierArrive(BarrierAt(0));
      },
      "was written over");
  ExpectFailure(
      shape,
      [] {
        InitBarrier(BarrierAt(0), 1);
        if (LaneIdx() == 0) MbarrierArriveExpectTx(BarrierAt(0), 16);
        WarpSync();
        if (LaneIdx() == 1) MbarrierArrive(BarrierAt(0));
      },
      "more than 1 arrivals in one phase");
  // The others still wait for the first phase when the second one ends.
  ExpectFailure(
      shape,
      [] {
        InitBarrier(BarrierAt(0), 1);
        InitBarrier(BarrierAt(8), 31);
        if (LaneIdx() == 0) {
          MbarrierWait(BarrierAt(8), 0);
          MbarrierArrive(BarrierAt(0));
          MbarrierArrive(BarrierAt(0));
        } else {
          MbarrierArrive(BarrierAt(8));
          MbarrierWait(BarrierAt(0), 0);
        }
      },
      "completed phase 1 while 31 threads had not seen the end of the one before");
}

// Three kernels in a stream, each of which adds to what the one before it wrote.
class EmulatedStream : public Emulation {
 protected:
  void SetUp() override {
    Emulation::SetUp();
    simt::SetDeferred(true);
  }
  void TearDown() override { simt::SetDeferred(false); }

  // `early` reads before the wait.
  CudaStatus LaunchStep(int step, bool early, bool wait = true) {
    return simt::Run({.grid_x = 2, .threads = 32, .overlap = step > 0}, [=, this] {
      AllowNextKernel();
      const int seen = value_[BlockX()];
      if (wait) WaitForPreviousKernel();
      WarpSync();
      if (ThreadIdx() == 0) value_[BlockX()] = (early ? seen : value_[BlockX()]) * 10 + step + 1;
    });
  }

  int value_[2] = {};
};

TEST_F(EmulatedStream, RunsInOrder) {
  for (int step = 0; step < 3; ++step) ASSERT_EQ(LaunchStep(step, false), CudaStatus::kOk);
  EXPECT_EQ(value_[0], 0);
  ASSERT_EQ(simt::Finish(), CudaStatus::kOk) << LastError();
  EXPECT_EQ(value_[0], 123);
  EXPECT_EQ(value_[1], 123);
}

TEST_F(EmulatedStream, ShowsWhatIsReadTooEarly) {
  for (int step = 0; step < 3; ++step) ASSERT_EQ(LaunchStep(step, step == 2), CudaStatus::kOk);
  ASSERT_EQ(simt::Finish(), CudaStatus::kOk) << LastError();
  // The block that began first had nothing to read yet.
  EXPECT_EQ(std::min(value_[0], value_[1]), 3);
}

TEST_F(EmulatedStream, ReportsKernelsThatDoNotWait) {
  ASSERT_EQ(LaunchStep(0, false), CudaStatus::kOk);
  ASSERT_EQ(LaunchStep(1, false, false), CudaStatus::kOk);
  EXPECT_EQ(simt::Finish(), CudaStatus::kFailed);
  EXPECT_NE(std::string(LastError()).find("without WaitForPreviousKernel"), std::string::npos);
}

TEST_F(EmulatedStream, ReportsFailuresOfTheKernelInFront) {
  ASSERT_EQ(simt::Run({.threads = 32}, [] { NamedSync(1, 64); }), CudaStatus::kOk);
  ASSERT_EQ(LaunchStep(1, false), CudaStatus::kOk);
  EXPECT_EQ(simt::Finish(), CudaStatus::kFailed);
  EXPECT_NE(std::string(LastError()).find("in front of this one: deadlock"), std::string::npos)
      << LastError();
  EXPECT_EQ(simt::Finish(), CudaStatus::kOk);
}

// A box of 8 x 128 bytes.
class EmulatedTma : public Emulation {
 protected:
  void SetUp() override {
    Emulation::SetUp();
    std::iota(matrix_.begin(), matrix_.end(), static_cast<unsigned char>(1));
    ASSERT_EQ(MakeTensorMap2D(&map_, matrix_.data(), 128, 8, 128, 128, 8), CudaStatus::kOk);
  }

  static constexpr LaunchShape kShape = {.threads = 32, .shared_bytes = 2048};
  static constexpr int kBarrier = 1024;
  alignas(16) std::array<unsigned char, 1024> matrix_;
  TensorMap map_;
};

TEST_F(EmulatedTma, ReportsBytesThatWereNotAnnounced) {
  const auto load = [&](uint32_t announced) {
    InitBarrier(BarrierAt(kBarrier), 1);
    if (ThreadIdx() == 0) {
      MbarrierArriveExpectTx(BarrierAt(kBarrier), announced);
      TmaLoad2D(SharedMemory(), &map_, 0, 0, BarrierAt(kBarrier));
    }
    MbarrierWait(BarrierAt(kBarrier), 0);
  };
  EXPECT_EQ(simt::Run(kShape, [&] { load(1024); }), CudaStatus::kOk) << LastError();
  ExpectFailure(
      kShape, [&] { load(1000); }, "24 bytes more came");
  ExpectFailure(
      kShape, [&] { load(1025); }, "0 of 1 arrivals and 1 bytes missing");
}

TEST_F(EmulatedTma, ReportsBarriersWithoutAFence) {
  ExpectFailure(
      kShape,
      [&] {
        if (ThreadIdx() == 0) MbarrierInit(BarrierAt(kBarrier), 1);
        BlockSync();
        if (ThreadIdx() == 0) {
          MbarrierArriveExpectTx(BarrierAt(kBarrier), 1024);
          TmaLoad2D(SharedMemory(), &map_, 0, 0, BarrierAt(kBarrier));
        }
        MbarrierWait(BarrierAt(kBarrier), 0);
      },
      "no MbarrierInitFence");
}

TEST_F(EmulatedTma, ReportsLoadsThatOutliveTheBlock) {
  const auto load = [&] {
    InitBarrier(BarrierAt(kBarrier), 1);
    if (ThreadIdx() == 0) {
      MbarrierArriveExpectTx(BarrierAt(kBarrier), 1024);
      TmaLoad2D(SharedMemory(), &map_, 0, 0, BarrierAt(kBarrier));
    }
  };
  int failures = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    simt::SetSeed(seed);
    failures += simt::Run(kShape, load) == CudaStatus::kFailed ? 1 : 0;
  }
  EXPECT_GT(failures, 0);
  EXPECT_NE(std::string(LastError()).find("TMA load"), std::string::npos) << LastError();
}

TEST_F(EmulatedTma, LandsLateWhereNothingWaits) {
  unsigned char found = 0;
  ExpectChance(
      kShape,
      [&] {
        InitBarrier(BarrierAt(kBarrier), 1);
        if (ThreadIdx() == 0) {
          MbarrierArriveExpectTx(BarrierAt(kBarrier), 1024);
          TmaLoad2D(SharedMemory(), &map_, 0, 0, BarrierAt(kBarrier));
        }
        WarpSync();
        if (ThreadIdx() == 9) found = SharedMemory()[9];
        MbarrierWait(BarrierAt(kBarrier), 0);
      },
      [&] { return found == matrix_[9]; });
}

TEST_F(EmulatedTma, ReportsBlocksOfAClusterThatEndedEarly) {
  LaunchShape shape = kShape;
  shape.grid_x = 2;
  shape.cluster = 2;
  ExpectFailure(
      shape,
      [&] {
        if (ThreadIdx() == 0) {
          MbarrierInit(BarrierAt(kBarrier), 1);
          MbarrierInitFence();
        }
        ClusterSync();
        if (ClusterRank() == 1) return;
        for (int i = 0; i < 1000; ++i) WarpSync();
        if (ThreadIdx() == 0) MbarrierArriveCluster(BarrierAt(kBarrier), 1);
      },
      "block 1 of the cluster has ended");
}

TEST_F(EmulatedTma, RefusesMapsThatNoDeviceTakes) {
  TensorMap map;
  const unsigned char* const base = matrix_.data();
  EXPECT_EQ(MakeTensorMap2D(&map, base + 8, 100, 4, 128, 128, 8), CudaStatus::kFailed);
  EXPECT_EQ(MakeTensorMap2D(&map, base, 100, 4, 120, 128, 8), CudaStatus::kFailed);
  EXPECT_EQ(MakeTensorMap2D(&map, base, 100, 4, 128, 144, 8), CudaStatus::kFailed);
  EXPECT_EQ(MakeTensorMap2D(&map, base, 100, 4, 128, 128, 257), CudaStatus::kFailed);
  EXPECT_EQ(MakeTensorMap2D(&map, base, 100, 0, 128, 128, 8), CudaStatus::kFailed);
}

TEST_F(Emulation, AMissingBlockSyncShows) {
  int found = 0;
  ExpectChance(
      {.threads = 64, .shared_bytes = 4},
      [&] {
        auto* const shared = reinterpret_cast<int32_t*>(SharedMemory());
        if (ThreadIdx() == 0) *shared = 17;
        WarpSync();
        if (ThreadIdx() == 63) found = *shared;
      },
      [&] { return found == 17; });
}

TEST_F(Emulation, AMissingWarpSyncShows) {
  int found = 0;
  ExpectChance(
      {.threads = 32, .shared_bytes = 4},
      [&] {
        auto* const shared = reinterpret_cast<int32_t*>(SharedMemory());
        if (ThreadIdx() == 3) *shared = 17;
        if (ThreadIdx() == 20) found = *shared;
      },
      [&] { return found == 17; });
}

TEST_F(Emulation, AMissingCpAsyncWaitShows) {
  alignas(16) static const int32_t kSource[4] = {17, 0, 0, 0};
  int found = 0;
  ExpectChance(
      {.threads = 32, .shared_bytes = 16},
      [&] {
        if (ThreadIdx() == 0) CpAsync16(SharedMemory(), kSource, true);
        CpAsyncCommit();
        CpAsyncWait<1>();  // of 0
        WarpSync();
        if (ThreadIdx() == 1) std::memcpy(&found, SharedMemory(), sizeof found);
      },
      [&] { return found == 17; });
}

// One product of ones by ones: 32 everywhere.
class EmulatedWgmma : public Emulation {
 protected:
  static constexpr LaunchShape kShape = {.threads = 128, .shared_bytes = 16384};

  static void FillWithOnes() {
    for (int i = ThreadIdx(); i < 16384; i += 128) SharedMemory()[i] = 1;
    SharedToAsyncFence();
    BlockSync();
  }
  static uint64_t A() { return SmemDescriptor(SharedMemory()); }
  static uint64_t B() { return SmemDescriptor(SharedMemory() + 8192); }
};

TEST_F(EmulatedWgmma, NeedsItsFenceAndWait) {
  const auto multiply = [](bool fence, bool wait) {
    FillWithOnes();
    int32_t d[32];
    if (fence) WgmmaFence();
    WgmmaI8<64, true>(d, A(), B(), false);
    WgmmaCommit();
    if (wait) {
      WgmmaWait<0>();
      for (const int32_t sum : d) EXPECT_EQ(sum, 32);
    }
  };
  EXPECT_EQ(simt::Run(kShape, [&] { multiply(true, true); }), CudaStatus::kOk) << LastError();
  ExpectFailure(
      kShape, [&] { multiply(false, true); }, "no WgmmaFence before");
  ExpectFailure(
      kShape, [&] { multiply(true, false); }, "ended without a wait for its wgmma");
}

TEST_F(EmulatedWgmma, WritesNothingBeforeTheWait) {
  int32_t found = 0;
  ASSERT_EQ(simt::Run(kShape,
                      [&] {
                        FillWithOnes();
                        int32_t d[32] = {};
                        WgmmaFence();
                        WgmmaI8<64, true>(d, A(), B(), false);
                        WgmmaCommit();
                        WgmmaWait<1>();
                        BlockSync();
                        found += d[0];
                        BlockSync();
                        WgmmaWait<0>();
                      }),
            CudaStatus::kOk)
      << LastError();
  EXPECT_EQ(found, 0);
}

TEST_F(EmulatedWgmma, AnOperandWrittenOverTooEarlyShows) {
  bool is_right = true;
  ExpectChance(
      kShape,
      [&] {
        if (ThreadIdx() == 0) is_right = true;
        FillWithOnes();
        int32_t d[32];
        WgmmaFence();
        WgmmaI8<64, true>(d, A(), B(), false);
        WgmmaCommit();
        BlockSync();
        if (ThreadIdx() == 0) std::memset(SharedMemory() + 8192, 0, 8192);
        WgmmaWait<0>();
        is_right = is_right && d[5] == 32;
      },
      [&] { return is_right; });
}

TEST_F(EmulatedWgmma, ReportsWrongOperands) {
  const auto multiply = [](uint64_t a, uint64_t b) {
    int32_t d[32];
    WgmmaFence();
    WgmmaI8<64, true>(d, a, b, false);
    WgmmaCommit();
    WgmmaWait<0>();
  };
  ExpectFailure(
      kShape, [&] { multiply(A(), 0); }, "not SmemDescriptor's");
  ExpectFailure(
      kShape, [&] { multiply(A(), B() + 8); }, "multiple of 1024");
  ExpectFailure(
      kShape, [&] { multiply(A(), B() + 1); }, "k advances by 32 bytes");
  ExpectFailure(
      kShape, [&] { multiply(A() + 64 * 16, A() + 64 * 14); }, "shared memory at 16384");
  ExpectFailure(
      kShape, [&] { multiply(A(), B() + (ThreadIdx() < 32 ? 2 : 0)); }, "different products");
  ExpectFailure(
      kShape, [&] { multiply(A(), B() + (LaneIdx() < 2 ? 2 : 0)); }, "differ in descriptors");
  ExpectFailure(
      kShape,
      [&] {
        if (ThreadIdx() < 96) multiply(A(), B());
      },
      "waits at WgmmaWait");
  ExpectFailure(
      {.threads = 96, .shared_bytes = 16384}, [&] { multiply(A(), B()); },
      "in no whole warp group");
}

}  // namespace
}  // namespace octavo::cuda
