// An emulation of CUDA blocks on the CPU, to run kernels written with kernels/cuda/primitives.h in
// ordinary tests. Every thread of a block is a fiber; the blocks of a cluster run together,
// clusters one after another. All that a GPU leaves to chance comes from a seeded generator: the
// order of blocks, warps and lanes, and when copies and wgmma read and write. So a missing barrier,
// or a wait too few, shows as a wrong number for some seed.
//
// A launch fails with a message for: lanes of a warp at different warp-wide operations, deadlock,
// shared memory out of bounds and misaligned addresses in the primitives, writes past the end of
// shared memory, barriers used with differing thread counts, mbarriers that are not initialized,
// overwritten, skipped by a phase or given other bytes than announced, copies and products still
// under way when a block ends.
//
// Not seen: races of plain loads and stores between two primitives within one warp's turn; missing
// fences, but for the mbarriers' own and the first wgmma's; registers, occupancy, speed.
//
// Not thread-safe; every OS thread may run its own launches.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace octavo::cuda::simt {

// Of this thread's next launches. Equal seeds give equal runs.
void SetSeed(uint64_t seed);

// Launches as late as a stream may do them: a kernel runs at Finish(), at a launch without overlap,
// or inside a kernel launched with overlap, when no thread of its first block or cluster can do
// more before its WaitForPreviousKernel. So what a kernel does too early is too early, and one that
// never waits is reported.
void SetDeferred(bool deferred);

// Runs what was launched. kFailed where one of the kernels did.
CudaStatus Finish();

// What GetDeviceTraits says; an H200 unless set.
void SetDeviceTraits(const DeviceTraits& traits);

}  // namespace octavo::cuda::simt
