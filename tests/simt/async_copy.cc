// Copies in the background: cp.async, mbarriers and TMA.
#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/cuda/error.h"
#include "machine.h"
#include "simt.h"

namespace octavo::cuda {
namespace simt {
namespace {

void Copy(const CpAsyncCopy& copy) {
  if (copy.from == nullptr) {
    std::memset(copy.to, 0, 16);
  } else {
    std::memcpy(copy.to, copy.from, 16);
  }
}

// What an initialized mbarrier's 8 bytes hold, so that one that was written over is noticed.
constexpr uint64_t kMbarrierMark = 0x6d62617272696572;

Mbarrier& FindMbarrier(Block& block, uint32_t offset, const char* what) {
  Machine& machine = ThisMachine();
  const auto found = block.mbarriers.find(offset);
  if (found == block.mbarriers.end())
    machine.Fail("%s: the mbarrier at offset %u is not initialized", what, offset);
  uint64_t mark = 0;
  std::memcpy(&mark, block.shared->data() + offset, sizeof mark);
  if (mark != kMbarrierMark)
    machine.Fail("%s: the mbarrier at offset %u was written over", what, offset);
  return found->second;
}

uint32_t OffsetOf(const uint64_t* barrier, const char* what) {
  return ThisMachine().SharedOffset(barrier, sizeof *barrier, sizeof *barrier, what);
}

void CompletePhase(Mbarrier& barrier, uint32_t offset) {
  Machine& machine = ThisMachine();
  if (barrier.pending != 0) return;
  if (barrier.bytes < 0)
    machine.Fail("%lld bytes more came to the mbarrier at offset %u than were announced",
                 static_cast<long long>(-barrier.bytes), offset);
  if (barrier.bytes != 0) return;
  if (barrier.unseen != 0)
    machine.Fail(
        "the mbarrier at offset %u completed phase %u while %d threads had not seen the "
        "end of the one before",
        offset, barrier.phase, barrier.unseen);
  ++barrier.phase;
  barrier.pending = barrier.count;
  barrier.unseen = static_cast<int>(barrier.waiting.size());
  for (Thread* const thread : barrier.waiting) {
    thread->at_mbarrier = false;
    thread->warp->ready |= 1u << thread->lane;
  }
  barrier.waiting.clear();
}

void ArriveAt(Block& block, uint32_t offset, int64_t bytes, const char* what) {
  Mbarrier& barrier = FindMbarrier(block, offset, what);
  barrier.bytes += bytes;
  if (barrier.pending == 0)
    ThisMachine().Fail("%s: more than %u arrivals in one phase of the mbarrier at offset %u", what,
                       barrier.count, offset);
  --barrier.pending;
  CompletePhase(barrier, offset);
}

}  // namespace

void CpAsyncWait(int pending) {
  Thread& thread = ThisMachine().current();
  while (thread.groups.size() > static_cast<size_t>(pending)) {
    for (const CpAsyncCopy& copy : thread.groups.front()) Copy(copy);
    thread.groups.erase(thread.groups.begin());
  }
}

void LandTma(Machine& machine, const TmaCopy& copy) {
  const TensorMap& map = copy.map;
  if (copy.block->live_warps == 0)
    machine.Fail("a TMA load came to a block of the cluster that had ended");
  unsigned char* const shared = copy.block->shared->data();
  for (uint32_t row = 0; row < map.box_rows; ++row) {
    for (uint32_t column = 0; column < map.box_inner_bytes; ++column) {
      uint32_t address = copy.offset + row * map.box_inner_bytes + column;
      address ^= (address >> 7 & 7) << 4;
      const int64_t x = int64_t{copy.x} + column;
      const int64_t y = int64_t{copy.y} + row;
      const bool inside = x >= 0 && y >= 0 && x < static_cast<int64_t>(map.inner_bytes) &&
                          y < static_cast<int64_t>(map.rows);
      shared[address] = inside ? map.base[static_cast<uint64_t>(y) * map.row_stride_bytes + x] : 0;
    }
  }
  Mbarrier& barrier = FindMbarrier(*copy.block, copy.mbarrier_offset, "TMA");
  barrier.bytes -= int64_t{map.box_rows} * map.box_inner_bytes;
  CompletePhase(barrier, copy.mbarrier_offset);
}

}  // namespace simt

using simt::ThisMachine;

void CpAsync16(void* shared, const void* global, bool valid) {
  simt::Machine& machine = ThisMachine();
  machine.SharedOffset(shared, 16, 16, "CpAsync16");
  if (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0)
    machine.Fail("CpAsync16: address %p is not 16-byte aligned", global);
  const simt::CpAsyncCopy copy = {
      static_cast<unsigned char*>(shared),
      valid ? static_cast<const unsigned char*>(global) : nullptr,
  };
  // As late as the wait allows, or at once: a missing wait and a buffer still in use both show.
  if (machine.Random(4) == 0) {
    simt::Copy(copy);
  } else {
    machine.current().open_group.push_back(copy);
  }
}

void CpAsyncCommit() {
  simt::Thread& thread = ThisMachine().current();
  thread.groups.push_back(std::move(thread.open_group));
  thread.open_group.clear();
}

void MbarrierInit(uint64_t* barrier, uint32_t count) {
  simt::Machine& machine = ThisMachine();
  const uint32_t offset = simt::OffsetOf(barrier, "MbarrierInit");
  if (count == 0 || count >= 1u << 20) machine.Fail("MbarrierInit: a count of %u", count);
  std::memcpy(barrier, &simt::kMbarrierMark, sizeof *barrier);
  simt::Mbarrier& state = machine.block().mbarriers[offset];
  if (!state.waiting.empty()) machine.Fail("MbarrierInit: threads wait at offset %u", offset);
  state = {};
  state.count = count;
  state.pending = count;
  state.initialized_by = &machine.current();
}

void MbarrierInitFence() {
  simt::Machine& machine = ThisMachine();
  for (auto& [offset, barrier] : machine.block().mbarriers) {
    if (barrier.initialized_by == &machine.current()) barrier.fenced = true;
  }
}

void MbarrierArrive(uint64_t* barrier) {
  simt::ArriveAt(ThisMachine().block(), simt::OffsetOf(barrier, "MbarrierArrive"), 0,
                 "MbarrierArrive");
}

void MbarrierArriveExpectTx(uint64_t* barrier, uint32_t bytes) {
  if (bytes >= 1u << 20) ThisMachine().Fail("MbarrierArriveExpectTx: %u bytes", bytes);
  simt::ArriveAt(ThisMachine().block(), simt::OffsetOf(barrier, "MbarrierArriveExpectTx"), bytes,
                 "MbarrierArriveExpectTx");
}

void MbarrierArriveCluster(uint64_t* mine, uint32_t cta_rank) {
  simt::Machine& machine = ThisMachine();
  const uint32_t offset = simt::OffsetOf(mine, "MbarrierArriveCluster");
  if (cta_rank >= machine.blocks().size())
    machine.Fail("MbarrierArriveCluster: rank %u in a cluster of %zu", cta_rank,
                 machine.blocks().size());
  simt::Block& block = machine.blocks()[cta_rank];
  if (block.live_warps == 0)
    machine.Fail("MbarrierArriveCluster: block %u of the cluster has ended", cta_rank);
  if (&block != &machine.block() &&
      !simt::FindMbarrier(block, offset, "MbarrierArriveCluster").fenced)
    machine.Fail("MbarrierArriveCluster: no MbarrierInitFence since the barrier's MbarrierInit");
  simt::ArriveAt(block, offset, 0, "MbarrierArriveCluster");
}

void MbarrierWait(uint64_t* barrier, uint32_t parity) {
  simt::Machine& machine = ThisMachine();
  const uint32_t offset = simt::OffsetOf(barrier, "MbarrierWait");
  simt::Mbarrier& state = simt::FindMbarrier(machine.block(), offset, "MbarrierWait");
  if (parity > 1) machine.Fail("MbarrierWait: a parity of %u", parity);
  if ((state.phase & 1) != parity) return;
  simt::Thread& thread = machine.current();
  thread.at_mbarrier = true;
  thread.mbarrier_offset = offset;
  state.waiting.push_back(&thread);
  machine.Wait();
  --state.unseen;
}

void StoreCluster16(void* mine, uint32_t cta_rank, const int32_t (&words)[4], uint64_t* barrier) {
  simt::Machine& machine = ThisMachine();
  const uint32_t offset = machine.SharedOffset(mine, sizeof words, 16, "StoreCluster16");
  const uint32_t barrier_offset = simt::OffsetOf(barrier, "StoreCluster16");
  if (cta_rank >= machine.blocks().size())
    machine.Fail("StoreCluster16: rank %u in a cluster of %zu", cta_rank, machine.blocks().size());
  simt::Block& block = machine.blocks()[cta_rank];
  if (block.live_warps == 0)
    machine.Fail("StoreCluster16: block %u of the cluster has ended", cta_rank);
  simt::Mbarrier& state = simt::FindMbarrier(block, barrier_offset, "StoreCluster16");
  if (!state.fenced)
    machine.Fail("StoreCluster16: no MbarrierInitFence since the barrier's MbarrierInit");
  std::memcpy(block.shared->data() + offset, words, sizeof words);
  state.bytes -= sizeof words;
  simt::CompletePhase(state, barrier_offset);
}

void PrefetchTensorMap(const TensorMap* map) {
  if (map->base == nullptr) ThisMachine().Fail("PrefetchTensorMap: a map that was not made");
}

void TmaLoad2D(void* shared, const TensorMap* map, int32_t x, int32_t y, uint64_t* barrier) {
  TmaLoad2DMulticast(shared, map, x, y, barrier, static_cast<uint16_t>(1u << ClusterRank()));
}

void TmaLoad2DMulticast(void* shared, const TensorMap* map, int32_t x, int32_t y, uint64_t* barrier,
                        uint16_t cta_mask) {
  simt::Machine& machine = ThisMachine();
  const size_t bytes = size_t{map->box_rows} * map->box_inner_bytes;
  const uint32_t offset = machine.SharedOffset(shared, bytes, 128, "TMA load");
  const uint32_t barrier_offset = simt::OffsetOf(barrier, "TMA load");
  if (cta_mask == 0 || cta_mask >> machine.blocks().size() != 0)
    machine.Fail("TMA load: mask %#x in a cluster of %zu", cta_mask, machine.blocks().size());
  for (size_t rank = 0; rank < machine.blocks().size(); ++rank) {
    if ((cta_mask >> rank & 1) == 0) continue;
    simt::Block& block = machine.blocks()[rank];
    if (block.live_warps == 0) machine.Fail("TMA load: block %zu of the cluster has ended", rank);
    if (!simt::FindMbarrier(block, barrier_offset, "TMA load").fenced)
      machine.Fail("TMA load: no MbarrierInitFence since the barrier's MbarrierInit");
    machine.tma_copies().push_back({*map, x, y, &block, offset, barrier_offset});
  }
}

CudaStatus MakeTensorMap2D(TensorMap* map, const void* base, uint64_t inner_bytes, uint64_t rows,
                           uint64_t row_stride_bytes, uint32_t box_inner_bytes, uint32_t box_rows) {
  const uint64_t most = uint64_t{1} << 32;
  if (base == nullptr || reinterpret_cast<uintptr_t>(base) % 16 != 0 || inner_bytes == 0 ||
      inner_bytes > most || rows == 0 || rows > most || row_stride_bytes % 16 != 0 ||
      row_stride_bytes >= uint64_t{1} << 40 || row_stride_bytes < inner_bytes ||
      box_inner_bytes == 0 || box_inner_bytes % 16 != 0 || box_inner_bytes > 128 || box_rows == 0 ||
      box_rows > 256)
    return Fail(CudaStatus::kFailed, "no tensor map has boxes of " + std::to_string(box_rows) +
                                         " x " + std::to_string(box_inner_bytes) + " bytes of " +
                                         std::to_string(rows) + " rows of " +
                                         std::to_string(inner_bytes) + " bytes, " +
                                         std::to_string(row_stride_bytes) + " apart");
  *map = {static_cast<const unsigned char*>(base),
          inner_bytes,
          rows,
          row_stride_bytes,
          box_inner_bytes,
          box_rows};
  return CudaStatus::kOk;
}

}  // namespace octavo::cuda
