#include "machine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>
#include <numeric>

#include "kernels/cuda/error.h"
#include "simt.h"

namespace octavo::cuda::simt {

constinit thread_local const Position* position = nullptr;

namespace {

constexpr unsigned char kPoison = 0xdb;
constexpr size_t kSharedAlignment = 1024;
constexpr uint32_t kMaxThreads = 1024;
constexpr uint32_t kMaxCluster = 8;  // what every device with clusters can do

thread_local DeviceTraits device_traits = {.compute_capability = 90,
                                           .has_wgmma = true,
                                           .multiprocessors = 132,
                                           .shared_bytes_per_block = 227 * 1024,
                                           .l2_bytes = 50 << 20};

constinit thread_local uint64_t random_state = 1;
constinit thread_local Machine* running = nullptr;

struct Launched {
  LaunchShape shape;
  std::function<void()> thread;
};
// What this OS thread has launched and not begun, in order.
thread_local std::vector<Launched> stream;
thread_local bool is_deferred = false;

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

const char* Name(Op op) {
  switch (op) {
    case Op::kNone:
      return "nothing";
    case Op::kWarpIdx:
      return "WarpIdx";
    case Op::kWarpSync:
      return "WarpSync";
    case Op::kBlockSync:
      return "BlockSync";
    case Op::kNamedSync:
      return "NamedSync";
    case Op::kClusterSync:
      return "ClusterSync";
    case Op::kShuffle:
      return "Shuffle";
    case Op::kShuffleXor:
      return "ShuffleXor";
    case Op::kBallot:
      return "Ballot";
    case Op::kLoadMatrix4:
      return "LoadMatrix4";
    case Op::kMmaI8:
      return "MmaI8";
    case Op::kMmaF16:
      return "MmaF16";
    case Op::kMmaBF16:
      return "MmaBF16";
    case Op::kWgmmaFence:
      return "WgmmaFence";
    case Op::kWgmmaI8:
      return "WgmmaI8";
    case Op::kWgmmaCommit:
      return "WgmmaCommit";
    case Op::kWgmmaWait:
      return "WgmmaWait";
    case Op::kChangeRegisters:
      return "RegistersIncrease/Decrease";
    case Op::kMbarrierWait:
      return "MbarrierWait";
  }
  return "?";
}

SharedRegion::SharedRegion(size_t bytes) : bytes_(bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t usable = RoundUp(std::max<size_t>(bytes, 1), page);
  mapped_bytes_ = usable + 2 * page;
  void* const mapped =
      mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mapped_ = static_cast<unsigned char*>(mapped);
  end_ = mapped_ + page + usable;
  mprotect(mapped_, page, PROT_NONE);
  mprotect(end_, page, PROT_NONE);
  data_ = end_ - RoundUp(bytes, kSharedAlignment);
}

SharedRegion::~SharedRegion() { munmap(mapped_, mapped_bytes_); }

void SharedRegion::Poison() { std::memset(data_, kPoison, static_cast<size_t>(end_ - data_)); }

bool SharedRegion::PaddingIntact() const {
  return std::all_of(data_ + bytes_, end_, [](unsigned char byte) { return byte == kPoison; });
}

Machine& ThisMachine() { return *running; }

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

bool Machine::ArriveAtBarrier(Barrier& barrier, Warp& warp, int expected_threads) {
  barrier.arrived += kWarpSize;
  if (barrier.arrived < expected_threads) {
    barrier.waiting.push_back(&warp);
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

void Machine::PrepareCluster(const LaunchShape& shape, uint32_t first_block) {
  const size_t num_threads = size_t{shape.threads} * shape.cluster;
  const size_t warps_per_block = shape.threads / kWarpSize;
  while (stacks_.size() < num_threads) stacks_.push_back(std::make_unique<Stack>());
  threads_.clear();
  threads_.resize(num_threads);
  warps_.clear();
  warps_.resize(num_threads / kWarpSize);
  groups_.clear();
  groups_.resize(shape.cluster * ((warps_per_block + 3) / 4));
  if (blocks_.size() != shape.cluster || blocks_[0].shared_bytes != shape.shared_bytes)
    blocks_.clear();
  blocks_.resize(shape.cluster);
  cluster_barrier_ = {};
  tma_copies_.clear();
  waiting_for_previous_.clear();
  live_threads_ = static_cast<int>(num_threads);
  PickSlowOnes(shape.threads / kWarpSize);

  for (uint32_t rank = 0; rank < shape.cluster; ++rank) {
    Block& block = blocks_[rank];
    block.num_warps = static_cast<int>(warps_per_block);
    block.live_warps = block.num_warps;
    block.shared_bytes = shape.shared_bytes;
    if (block.shared == nullptr) block.shared = std::make_unique<SharedRegion>(shape.shared_bytes);
    block.shared->Poison();
    block.barriers = {};
    block.mbarriers.clear();
    for (size_t w = 0; w < warps_per_block; ++w) {
      Warp& warp = warps_[rank * warps_per_block + w];
      warp.block = &block;
      warp.idx = static_cast<int>(w);
      warp.lanes = &threads_[(rank * warps_per_block + w) * kWarpSize];
      WarpGroup& group = groups_[rank * ((warps_per_block + 3) / 4) + w / 4];
      warp.group = &group;
      if (w % 4 == 0) {
        group.block = &block;
        group.warps = &warp;
      }
    }
    const uint32_t linear = first_block + rank;
    for (uint32_t t = 0; t < shape.threads; ++t) {
      const size_t idx = size_t{rank} * shape.threads + t;
      Thread& thread = threads_[idx];
      thread.position.thread = static_cast<int>(t);
      thread.position.block[0] = static_cast<int>(linear % shape.grid_x);
      thread.position.block[1] = static_cast<int>(linear / shape.grid_x % shape.grid_y);
      thread.position.block[2] = static_cast<int>(linear / shape.grid_x / shape.grid_y);
      thread.position.grid[0] = static_cast<int>(shape.grid_x);
      thread.position.grid[1] = static_cast<int>(shape.grid_y);
      thread.position.cluster_rank = static_cast<int>(rank);
      thread.position.shared = block.shared->data();
      thread.warp = &warps_[idx / kWarpSize];
      thread.lane = static_cast<int>(t % kWarpSize);
      StartFiber(thread.fiber, *stacks_[idx], &Machine::ThreadMain);
    }
  }
}

bool Machine::RunCluster(const LaunchShape& shape, uint32_t first_block) {
  PrepareCluster(shape, first_block);
  failure_text_[0] = '\0';
  current_ = nullptr;
  current_ = PickNext();
  position = &current_->position;
  SwitchFiber(main_, current_->fiber, false);
  const Thread& last = *current_;
  position = nullptr;
  if (failure_text_[0] != '\0') {
    failure_ = Where(last) + ": " + failure_text_;
  } else if (live_threads_ != 0) {
    failure_ = DescribeDeadlock();
  } else {
    CheckEnd();
  }
  return failure_.empty();
}

void Machine::CheckEnd() {
  const std::string where = "block (" + std::to_string(threads_[0].position.block[0]) + ", " +
                            std::to_string(threads_[0].position.block[1]) + ", " +
                            std::to_string(threads_[0].position.block[2]) + "): ";
  for (const Block& block : blocks_) {
    if (!block.shared->PaddingIntact())
      failure_ = where + "something was written past the end of shared memory";
  }
  if (!tma_copies_.empty())
    failure_ = where + "a TMA load was still under way when its block ended";
  for (const Warp& warp : warps_) {
    if (warp.wgmma_waited != warp.wgmma_issued)
      failure_ = where + "warp " + std::to_string(warp.idx) + " ended without a wait for its wgmma";
  }
}

std::string Machine::DescribeDeadlock() {
  std::string text = "deadlock: no thread can go on\n";
  char line[256];
  for (const Warp& warp : warps_) {
    if (warp.exited == kAllLanes) continue;
    std::snprintf(line, sizeof line,
                  "  block (%d, %d, %d), warp %d:", warp.lanes[0].position.block[0],
                  warp.lanes[0].position.block[1], warp.lanes[0].position.block[2], warp.idx);
    text += line;
    if (warp.exited != 0) {
      std::snprintf(line, sizeof line, " lanes %#x have exited;", warp.exited);
      text += line;
    }
    if (warp.blocked_at != Op::kNone) {
      std::snprintf(line, sizeof line, " waits at %s (%llu)", Name(warp.blocked_at),
                    static_cast<unsigned long long>(warp.blocked_detail));
      text += line;
    }
    if (warp.arrived != 0) {
      std::snprintf(line, sizeof line, " lanes %#x wait at %s for the others;", warp.arrived,
                    Name(warp.op));
      text += line;
    }
    std::map<uint32_t, uint32_t> lanes_at;  // by mbarrier
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (warp.lanes[lane].at_mbarrier) lanes_at[warp.lanes[lane].mbarrier_offset] |= 1u << lane;
    }
    for (const auto& [offset, lanes] : lanes_at) {
      const Mbarrier& barrier = warp.block->mbarriers.at(offset);
      std::snprintf(line, sizeof line,
                    " lanes %#x wait for phase %u of the mbarrier at offset %u (%u of %u arrivals "
                    "and %lld bytes missing);",
                    lanes, barrier.phase, offset, barrier.pending, barrier.count,
                    static_cast<long long>(barrier.bytes));
      text += line;
    }
    text += '\n';
  }
  text.pop_back();
  return text;
}

kernels::CudaStatus Machine::Run(const LaunchShape& shape, const std::function<void()>& thread) {
  failure_.clear();
  body_ = &thread;
  const uint32_t num_clusters = shape.grid_x * shape.grid_y * shape.grid_z / shape.cluster;
  std::vector<uint32_t> order(num_clusters);
  std::iota(order.begin(), order.end(), 0u);
  for (uint32_t i = num_clusters; i > 1; --i) std::swap(order[i - 1], order[Random(i)]);
  for (const uint32_t cluster : order) {
    if (!RunCluster(shape, cluster * shape.cluster)) break;
  }
  body_ = nullptr;
  if (failure_.empty()) return kernels::CudaStatus::kOk;
  return cuda::Fail(kernels::CudaStatus::kFailed, failure_);
}

namespace {

kernels::CudaStatus CheckShape(const LaunchShape& shape) {
  if (shape.threads == 0 || shape.threads % kWarpSize != 0 || shape.threads > kMaxThreads ||
      shape.grid_x == 0 || shape.grid_y == 0 || shape.grid_y > 65535 || shape.grid_z == 0 ||
      shape.grid_z > 65535 || shape.cluster == 0 || shape.cluster > kMaxCluster ||
      shape.grid_x % shape.cluster != 0 ||
      shape.shared_bytes > static_cast<size_t>(device_traits.shared_bytes_per_block)) {
    char text[256];
    std::snprintf(
        text, sizeof text,
        "no GPU launches a grid of %u x %u x %u blocks in clusters of %u, with %u threads "
        "and %zu bytes of shared memory",
        shape.grid_x, shape.grid_y, shape.grid_z, shape.cluster, shape.threads, shape.shared_bytes);
    return cuda::Fail(kernels::CudaStatus::kInvalidArgument, text);
  }
  return kernels::CudaStatus::kOk;
}

// On the machine above the running one, so that a thread of a kernel can run another kernel.
kernels::CudaStatus RunNow(const LaunchShape& shape, const std::function<void()>& thread) {
  thread_local std::vector<std::unique_ptr<Machine>> machines;
  thread_local size_t depth = 0;
  if (depth == machines.size()) machines.push_back(std::make_unique<Machine>());
  Machine* const outer = running;
  const Position* const outer_position = position;
  const size_t num_before = stream.size();
  running = machines[depth++].get();
  const kernels::CudaStatus status = running->Run(shape, thread);
  --depth;
  running = outer;
  position = outer_position;
  if (status == kernels::CudaStatus::kOk && shape.overlap && num_before != 0 &&
      stream.size() == num_before)
    return cuda::Fail(kernels::CudaStatus::kFailed,
                      "a kernel launched with overlap ended without WaitForPreviousKernel");
  return status;
}

kernels::CudaStatus RunLastLaunched() {
  const Launched last = std::move(stream.back());
  stream.pop_back();
  return RunNow(last.shape, last.thread);
}

}  // namespace

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

kernels::CudaStatus Run(const LaunchShape& shape, const std::function<void()>& thread) {
  if (const kernels::CudaStatus status = CheckShape(shape); status != kernels::CudaStatus::kOk)
    return status;
  if (!is_deferred) return RunNow(shape, thread);
  kernels::CudaStatus status = kernels::CudaStatus::kOk;
  if (!shape.overlap) status = Finish();
  stream.push_back({shape, thread});
  return status;
}

kernels::CudaStatus Finish() {
  while (!stream.empty()) {
    if (const kernels::CudaStatus status = RunLastLaunched(); status != kernels::CudaStatus::kOk) {
      stream.clear();
      return status;
    }
  }
  return kernels::CudaStatus::kOk;
}

void SetDeferred(bool deferred) { is_deferred = deferred; }

int32_t MaxActiveClusters(uint32_t cluster) {
  return std::max(1, device_traits.multiprocessors / static_cast<int32_t>(cluster));
}

void SetSeed(uint64_t seed) { random_state = seed * 0x9e3779b97f4a7c15u | 1; }

void SetDeviceTraits(const DeviceTraits& traits) { device_traits = traits; }

}  // namespace octavo::cuda::simt

namespace octavo::cuda {

void WaitForPreviousKernel() {
  if (!simt::stream.empty()) simt::ThisMachine().WaitForPrevious();
}

CudaStatus GetDeviceTraits(int32_t device, DeviceTraits* traits) {
  if (device != 0) return Fail(CudaStatus::kUnsupported, "the emulation has one device, number 0");
  *traits = simt::device_traits;
  return CudaStatus::kOk;
}

}  // namespace octavo::cuda
