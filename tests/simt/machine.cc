#include "machine.h"

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <functional>
#include <iterator>

#include "kernels/cuda/error.h"
#include "simt.h"

namespace octavo::cuda::simt {

constinit thread_local const Position* position = nullptr;

namespace {

constinit thread_local uint64_t random_state = 1;

}  // namespace

void SetSeed(uint64_t seed) { random_state = seed * 0x9e3779b97f4a7c15u | 1; }

const char* Name(Op op) {
  static constexpr const char* kNames[] = {
      "nothing",
      "WarpIdx",
      "WarpSync",
      "BlockSync",
      "NamedSync",
      "NamedArrive",
      "ClusterSync",
      "Shuffle",
      "ShuffleXor",
      "Ballot",
      "LoadMatrix4",
      "MmaI8",
      "MmaF16",
      "MmaBF16",
      "WgmmaFence",
      "WgmmaI8",
      "WgmmaCommit",
      "WgmmaWait",
      "RegistersIncrease/Decrease",
      "MbarrierWait",
  };
  static_assert(std::size(kNames) == static_cast<size_t>(Op::kMbarrierWait) + 1);
  return kNames[static_cast<size_t>(op)];
}

uint32_t Machine::Random(uint32_t below) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return static_cast<uint32_t>(((random_state >> 32) * below) >> 32);
}

std::string Machine::Where(const Thread& thread) const {
  char text[96];
  std::snprintf(text, sizeof text, "block (%d, %d, %d), thread %d", thread.position.block[0],
                thread.position.block[1], thread.position.block[2], thread.position.thread);
  return text;
}

void Machine::Fail(const char* format, ...) {
  // Nothing on this stack may own memory: it is never returned to.
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(failure_text_, sizeof failure_text_, format, arguments);
  va_end(arguments);
  SwitchFiber(current_->fiber, main_, true);
  __builtin_unreachable();
}

void Machine::Meet(Op op, uint64_t detail, void* slot, bool (*work)(Warp& warp)) {
  Thread& thread = *current_;
  Warp& warp = *thread.warp;
  const uint32_t bit = 1u << thread.lane;
  if (warp.exited != 0)
    Fail("lane %d is at %s, but lanes %#x of its warp have exited", thread.lane, Name(op),
         warp.exited);
  if (warp.arrived == 0) {
    warp.op = op;
    warp.detail = detail;
  } else if (warp.op != op || warp.detail != detail) {
    Fail("lane %d is at %s (%llu), but lanes %#x of its warp are at %s (%llu)", thread.lane,
         Name(op), static_cast<unsigned long long>(detail), warp.arrived, Name(warp.op),
         static_cast<unsigned long long>(warp.detail));
  }
  warp.slots[thread.lane] = slot;
  warp.arrived |= bit;
  if (warp.arrived != kAllLanes) return Wait();
  warp.arrived = 0;
  if (work != nullptr && !work(warp)) {
    warp.blocked_at = op;
    warp.blocked_detail = detail;
    return Wait();
  }
  warp.ready |= kAllLanes & ~bit;
  if (Random(8) == 0) {
    warp.ready |= bit;
    Wait();
  }
}

void Machine::ReleaseWarp(Warp& warp) {
  warp.blocked_at = Op::kNone;
  warp.ready = kAllLanes;
}

Thread* Machine::PickLane(Warp& warp) {
  const int first = static_cast<int>(Random(kWarpSize));
  const int lane = (std::countr_zero(std::rotr(warp.ready, first)) + first) % kWarpSize;
  warp.ready &= ~(1u << lane);
  return &warp.lanes[lane];
}

// Whole launches with equal chances for all warps would hardly ever let one be as late as it may
// be.
void Machine::PickSlowOnes(uint32_t warps_per_block) {
  tma_is_slow_ = Random(2) == 0;
  const uint32_t num_warps = static_cast<uint32_t>(warps_.size());
  // In units of a warp, a warp group or a block; or none at all.
  const uint32_t units[] = {1, 1, 4, warps_per_block, num_warps};
  const uint32_t unit = units[Random(5)];
  const uint32_t share = 1 + Random(3);  // of 4
  for (uint32_t first = 0; unit < num_warps && first < num_warps; first += unit) {
    const bool is_slow = Random(4) < share;
    for (uint32_t i = first; i < std::min(first + unit, num_warps); ++i)
      warps_[i].is_slow = is_slow;
  }
}

Thread* Machine::PickNext() {
  for (bool is_stuck = false;; is_stuck = true) {
    if (!tma_copies_.empty() && (is_stuck || (!tma_is_slow_ && Random(4) == 0))) {
      const size_t chosen = Random(static_cast<uint32_t>(tma_copies_.size()));
      const TmaCopy copy = tma_copies_[chosen];
      tma_copies_[chosen] = tma_copies_.back();
      tma_copies_.pop_back();
      LandTma(*this, copy);
    }
    // Mostly stays with the warp, which is quick, and leaves it now and then even so.
    if (current_ != nullptr && current_->warp->ready != 0 && !current_->warp->is_slow &&
        Random(8) != 0)
      return PickLane(*current_->warp);
    const uint32_t num_warps = static_cast<uint32_t>(warps_.size());
    const uint32_t first = Random(num_warps);
    for (const bool is_slow : {false, true}) {
      for (uint32_t i = 0; i < num_warps; ++i) {
        Warp& warp = warps_[(first + i) % num_warps];
        if (warp.ready != 0 && warp.is_slow == is_slow) return PickLane(warp);
      }
    }
    if (!waiting_for_previous_.empty()) {
      RunPrevious();
    } else if (tma_copies_.empty()) {
      return nullptr;
    }
  }
}

void Machine::SwitchToNext(bool ends) {
  Thread* const from = current_;
  Thread* const next = PickNext();
  if (next == nullptr) {
    // All have exited, or none can go on; main tells which.
    SwitchFiber(from->fiber, main_, true);
    __builtin_unreachable();
  }
  if (next == from) return;
  current_ = next;
  position = &next->position;
  SwitchFiber(from->fiber, next->fiber, ends);
}

void Machine::Wait() { SwitchToNext(false); }

void Machine::ThreadMain() {
  Machine& machine = ThisMachine();
  (*machine.body_)();
  machine.ExitThread();
  __builtin_unreachable();
}

void Machine::ExitThread() {
  Thread& thread = *current_;
  Warp& warp = *thread.warp;
  if (warp.arrived != 0)
    Fail("the thread exits while lanes %#x of its warp wait at %s", warp.arrived, Name(warp.op));
  warp.exited |= 1u << thread.lane;
  --live_threads_;
  if (warp.exited == kAllLanes) {
    Block& block = *warp.block;
    --block.live_warps;
    for (size_t id = 1; block.live_warps == 0 && id < block.barriers.size(); ++id) {
      if (block.barriers[id].arrived != 0)
        Fail("the block exits while barrier %zu waits for threads", id);
    }
    // Barriers of all threads wait for those that have not exited.
    Barrier& all = block.barriers[0];
    if (all.arrived != 0 && all.arrived == block.live_warps * kWarpSize) {
      for (Warp* const waiting : all.waiting) ReleaseWarp(*waiting);
      all = {};
    }
    if (cluster_barrier_.arrived != 0 && cluster_barrier_.arrived == LiveThreadsOfCluster()) {
      for (Warp* const waiting : cluster_barrier_.waiting) ReleaseWarp(*waiting);
      cluster_barrier_ = {};
    }
  }
  SwitchToNext(true);
}

bool Machine::ArriveAtBarrier(Barrier& barrier, Warp& warp, int expected_threads, bool waits) {
  barrier.arrived += kWarpSize;
  if (barrier.arrived < expected_threads) {
    if (waits) barrier.waiting.push_back(&warp);
    return false;
  }
  for (Warp* const waiting : barrier.waiting) ReleaseWarp(*waiting);
  barrier = {};
  return true;
}

int Machine::LiveThreadsOfCluster() const {
  int warps = 0;
  for (const Block& block : blocks_) warps += block.live_warps;
  return warps * kWarpSize;
}

uint32_t Machine::SharedOffset(const void* shared, size_t bytes, size_t alignment,
                               const char* what) {
  const Block& own = block();
  const auto* const address = static_cast<const unsigned char*>(shared);
  const unsigned char* const begin = own.shared->data();
  const std::ptrdiff_t offset = address - begin;
  if (std::less<>()(address, begin) || std::less<>()(begin + own.shared_bytes, address) ||
      bytes > own.shared_bytes - static_cast<size_t>(offset))
    Fail("%s: %zu bytes at offset %td are not in the block's %zu bytes of shared memory", what,
         bytes, offset, own.shared_bytes);
  if (static_cast<size_t>(offset) % alignment != 0)
    Fail("%s: offset %td in shared memory is not %zu-byte aligned", what, offset, alignment);
  return static_cast<uint32_t>(offset);
}

void Machine::WaitForPrevious() {
  waiting_for_previous_.push_back(current_);
  Wait();
}

// Until here, as late as it can be, the kernel in front of this one has not begun.
void Machine::RunPrevious() {
  if (RunLastLaunched() != kernels::CudaStatus::kOk)
    Fail("the kernel in front of this one: %s", LastError());
  for (Thread* const thread : waiting_for_previous_) thread->warp->ready |= 1u << thread->lane;
  waiting_for_previous_.clear();
}

}  // namespace octavo::cuda::simt
