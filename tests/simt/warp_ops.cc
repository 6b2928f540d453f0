// Warp-wide operations and barriers of the emulation.
#include <cstring>

#include "machine.h"

namespace octavo::cuda {

using simt::kWarpSize;
using simt::Op;
using simt::ThisMachine;
using simt::Warp;

namespace simt {
namespace {

struct Exchange {
  uint32_t value;
  int lane;
  uint32_t result = 0;
};

Exchange& At(Warp& warp, int lane) { return *static_cast<Exchange*>(warp.slots[lane]); }

// Global memory that a 16-byte access touches.
void CheckGlobal(const void* global, const char* what) {
  if (reinterpret_cast<uintptr_t>(global) % 16 != 0)
    ThisMachine().Fail("%s: address %p is not 16-byte aligned", what, global);
}

}  // namespace

uint32_t ShuffleBits(uint32_t bits, int source_lane) {
  Exchange mine = {bits, source_lane};
  ThisMachine().Meet(Op::kShuffle, 0, &mine, [](Warp& warp) {
    for (int lane = 0; lane < kWarpSize; ++lane)
      At(warp, lane).result = At(warp, At(warp, lane).lane & 31).value;
    return true;
  });
  return mine.result;
}

uint32_t ShuffleXorBits(uint32_t bits, int mask) {
  Exchange mine = {bits, mask};
  ThisMachine().Meet(Op::kShuffleXor, 0, &mine, [](Warp& warp) {
    for (int lane = 0; lane < kWarpSize; ++lane)
      At(warp, lane).result = At(warp, (lane ^ At(warp, lane).lane) & 31).value;
    return true;
  });
  return mine.result;
}

void ChangeRegisters(int registers) {
  ThisMachine().Meet(Op::kChangeRegisters, static_cast<uint64_t>(registers), nullptr, nullptr);
}

}  // namespace simt

int WarpIdx() {
  ThisMachine().Meet(Op::kWarpIdx, 0, nullptr, nullptr);
  return ThreadIdx() / kWarpSize;
}

uint32_t SharedAddress(const void* shared) {
  return ThisMachine().SharedOffset(shared, 0, 1, "SharedAddress");
}

uint32_t Ballot(bool bit) {
  simt::Exchange mine = {bit, 0};
  ThisMachine().Meet(Op::kBallot, 0, &mine, [](Warp& warp) {
    uint32_t bits = 0;
    for (int lane = 0; lane < kWarpSize; ++lane) bits |= simt::At(warp, lane).value << lane;
    for (int lane = 0; lane < kWarpSize; ++lane) simt::At(warp, lane).result = bits;
    return true;
  });
  return mine.result;
}

void WarpSync() { ThisMachine().Meet(Op::kWarpSync, 0, nullptr, nullptr); }

void BlockSync() {
  ThisMachine().Meet(Op::kBlockSync, 0, nullptr, [](Warp& warp) {
    return ThisMachine().ArriveAtBarrier(warp.block->barriers[0], warp,
                                         warp.block->live_warps * kWarpSize);
  });
}

namespace {

uint64_t BarrierDetail(int id, int threads) {
  if (id < 1 || id > 15 || threads <= 0 || threads % kWarpSize != 0)
    ThisMachine().Fail("NamedSync(%d, %d): ids are 1 to 15, threads come in whole warps", id,
                       threads);
  return static_cast<uint64_t>(id) << 32 | static_cast<uint32_t>(threads);
}

// Whether the barrier let everyone go.
bool ArriveAtNamed(simt::Warp& warp, bool waits) {
  const int id = static_cast<int>(warp.detail >> 32);
  const int expected = static_cast<int>(static_cast<uint32_t>(warp.detail));
  simt::Barrier& barrier = warp.block->barriers[id];
  if (barrier.arrived != 0 && barrier.threads != expected)
    ThisMachine().Fail("NamedSync(%d, %d), but other warps wait there for %d threads", id, expected,
                       barrier.threads);
  barrier.threads = expected;
  return ThisMachine().ArriveAtBarrier(barrier, warp, expected, waits);
}

}  // namespace

void NamedSync(int id, int threads) {
  ThisMachine().Meet(Op::kNamedSync, BarrierDetail(id, threads), nullptr,
                     [](Warp& warp) { return ArriveAtNamed(warp, true); });
}

void NamedArrive(int id, int threads) {
  ThisMachine().Meet(Op::kNamedArrive, BarrierDetail(id, threads), nullptr, [](Warp& warp) {
    ArriveAtNamed(warp, false);
    return true;
  });
}

void ClusterSync() {
  ThisMachine().Meet(Op::kClusterSync, 0, nullptr, [](Warp& warp) {
    simt::Machine& machine = ThisMachine();
    return machine.ArriveAtBarrier(machine.cluster_barrier(), warp, machine.LiveThreadsOfCluster());
  });
}

Vec16 Load16(const void* global) {
  simt::CheckGlobal(global, "Load16");
  Vec16 v;
  std::memcpy(&v, global, sizeof v);
  return v;
}

Vec16 LoadStream16(const void* global) {
  simt::CheckGlobal(global, "LoadStream16");
  Vec16 v;
  std::memcpy(&v, global, sizeof v);
  return v;
}

void Store16(void* global, Vec16 v) {
  simt::CheckGlobal(global, "Store16");
  std::memcpy(global, &v, sizeof v);
}

}  // namespace octavo::cuda
