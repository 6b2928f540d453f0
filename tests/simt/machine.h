// The inside of the emulation: threads, warps, blocks and the scheduler. A Machine runs one kernel
// at a time; an OS thread has one for each kernel that has begun (SetDeferred).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fiber.h"
#include "simt_host.h"

namespace octavo::cuda::simt {

inline constexpr int kWarpSize = 32;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

// What a warp does together, and what threads wait at.
enum class Op : uint8_t {
  kNone,
  kWarpIdx,
  kWarpSync,
  kBlockSync,
  kNamedSync,
  kNamedArrive,
  kClusterSync,
  kShuffle,
  kShuffleXor,
  kBallot,
  kLoadMatrix4,
  kMmaI8,
  kMmaF16,
  kMmaBF16,
  kWgmmaFence,
  kWgmmaI8,
  kWgmmaCommit,
  kWgmmaWait,
  kChangeRegisters,
  kMbarrierWait,
};
const char* Name(Op op);

struct Block;
struct Thread;
struct Warp;
struct WarpGroup;

struct CpAsyncCopy {
  unsigned char* to;
  const unsigned char* from;  // null: zeros
};

struct Thread {
  Position position;
  Fiber fiber;
  Warp* warp = nullptr;
  int lane = 0;
  // The mbarrier that it waits at, or none.
  uint32_t mbarrier_offset = 0;
  bool at_mbarrier = false;
  std::vector<CpAsyncCopy> open_group;
  std::vector<std::vector<CpAsyncCopy>> groups;
};

struct Warp {
  Block* block = nullptr;
  WarpGroup* group = nullptr;
  Thread* lanes = nullptr;
  int idx = 0;
  uint32_t ready = kAllLanes;  // can run; the running lane is not among them
  bool is_slow = false;        // runs only when no other warp can
  uint32_t exited = 0;
  // The warp-wide operation that lanes have come to, and what each brought.
  uint32_t arrived = 0;
  Op op = Op::kNone;
  uint64_t detail = 0;
  std::array<void*, kWarpSize> slots = {};
  // Where the whole warp waits for others, after all lanes have come.
  Op blocked_at = Op::kNone;
  uint64_t blocked_detail = 0;
  // Its part in the warp group's products.
  bool wgmma_fenced = false;
  size_t wgmma_issued = 0;
  size_t wgmma_waited = 0;            // products that its waits have covered
  std::vector<size_t> wgmma_commits;  // wgmma_issued at each commit
};

struct WgmmaProduct {
  int columns;
  bool is_signed;
  bool accumulate;
  uint64_t a;
  uint64_t b;
  std::array<int32_t*, 4 * kWarpSize> d = {};
  int issued_by = 0;                 // warps
  std::vector<unsigned char> early;  // operands, where they are read at once
};

struct WarpGroup {
  Block* block = nullptr;
  Warp* warps = nullptr;
  std::deque<WgmmaProduct> products;  // issued and not yet done
  size_t num_done = 0;
};

struct Mbarrier {
  uint32_t count = 0;
  uint32_t pending = 0;
  int64_t bytes = 0;  // announced less arrived
  uint32_t phase = 0;
  const Thread* initialized_by = nullptr;
  bool fenced = false;
  std::vector<Thread*> waiting;
  int unseen = 0;  // threads released by the last phase that have not run since
};

struct Barrier {
  int threads = 0;  // expected; 0: all that have not exited
  int arrived = 0;
  std::vector<Warp*> waiting;
};

// Shared memory between two inaccessible pages.
class SharedRegion {
 public:
  explicit SharedRegion(size_t bytes);
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  unsigned char* data() const { return data_; }
  void Poison();
  bool PaddingIntact() const;  // nothing was written just past the end

 private:
  size_t bytes_;
  size_t mapped_bytes_;
  unsigned char* mapped_;
  unsigned char* data_;
  unsigned char* end_;  // of what can be written
};

struct Block {
  std::unique_ptr<SharedRegion> shared;
  size_t shared_bytes = 0;
  int num_warps = 0;
  int live_warps = 0;
  std::array<Barrier, 16> barriers;
  std::map<uint32_t, Mbarrier> mbarriers;  // by offset in shared memory
};

// A box on its way to one block.
struct TmaCopy {
  TensorMap map;
  int32_t x;
  int32_t y;
  Block* block;
  uint32_t offset;
  uint32_t mbarrier_offset;
};

class Machine {
 public:
  kernels::CudaStatus Run(const LaunchShape& shape, const std::function<void()>& thread);

  // For the primitives, in a fiber.

  Thread& current() { return *current_; }
  Warp& warp() { return *current_->warp; }
  Block& block() { return *current_->warp->block; }
  std::vector<Block>& blocks() { return blocks_; }  // of the running cluster
  std::vector<TmaCopy>& tma_copies() { return tma_copies_; }

  // Ends the launch as failed; the text is prefixed with where the thread is.
  [[noreturn, gnu::format(printf, 2, 3)]] void Fail(const char* format, ...);

  // Waits until all lanes of the warp have come with the same op and detail, each bringing `slot`;
  // the last one calls work(warp). False from it blocks the warp until ReleaseWarp.
  void Meet(Op op, uint64_t detail, void* slot, bool (*work)(Warp& warp));
  void ReleaseWarp(Warp& warp);

  // Until the kernel launched before this one is done.
  void WaitForPrevious();

  // Lets others run until `ready` of the warp has this thread again.
  void Wait();

  uint32_t Random(uint32_t below);

  // The offset in the block's shared memory, which must hold `bytes` from there.
  uint32_t SharedOffset(const void* shared, size_t bytes, size_t alignment, const char* what);

  // A warp came to a barrier: true if it may go on.
  // Whether the barrier let everyone go. !waits: the warp goes on in any case.
  bool ArriveAtBarrier(Barrier& barrier, Warp& warp, int expected_threads, bool waits = true);
  Barrier& cluster_barrier() { return cluster_barrier_; }
  int LiveThreadsOfCluster() const;

 private:
  static void ThreadMain();
  bool RunCluster(const LaunchShape& shape, uint32_t first_block);
  void PrepareCluster(const LaunchShape& shape, uint32_t first_block);
  void PickSlowOnes(uint32_t warps_per_block);
  Thread* PickNext();
  Thread* PickLane(Warp& warp);
  void SwitchToNext(bool ends);
  void ExitThread();
  void RunPrevious();
  void CheckEnd();
  std::string DescribeDeadlock();
  std::string Where(const Thread& thread) const;

  const std::function<void()>* body_ = nullptr;
  Fiber main_;
  Thread* current_ = nullptr;
  std::vector<std::unique_ptr<Stack>> stacks_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<WarpGroup> groups_;
  std::vector<Block> blocks_;
  Barrier cluster_barrier_;
  std::vector<TmaCopy> tma_copies_;
  bool tma_is_slow_ = false;  // copies land only when no warp can run
  std::vector<Thread*> waiting_for_previous_;
  int live_threads_ = 0;
  std::string failure_;
  char failure_text_[512] = {};
};

// The one of the running fiber.
Machine& ThisMachine();

// Runs the youngest kernel that was launched and has not begun: stream.cc.
kernels::CudaStatus RunLastLaunched();

// A copy lands: async_copy.cc.
void LandTma(Machine& machine, const TmaCopy& copy);

}  // namespace octavo::cuda::simt
