// A launch of the emulation, cluster by cluster: what a block begins with, and what must hold when
// it has ended.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <numeric>

#include "kernels/cuda/error.h"
#include "machine.h"

namespace octavo::cuda::simt {
namespace {

constexpr unsigned char kPoison = 0xdb;
constexpr size_t kSharedAlignment = 1024;

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

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
  if (!failure_.empty()) {
    for (const std::unique_ptr<Stack>& stack : stacks_) stack->Forget();
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

}  // namespace octavo::cuda::simt
