// ldmatrix, mma.sync and wgmma of the emulation.
#include <algorithm>
#include <cstring>

#include "machine.h"

namespace octavo::cuda {
namespace simt {
namespace {

struct MatrixLoad {
  uint32_t* r;
  uint32_t row;  // offset in shared memory
};

template <class D>
struct Product {
  D* d;
  const uint32_t* a;
  const uint32_t* b;
};

template <class D>
Product<D>& At(Warp& warp, int lane) {
  return *static_cast<Product<D>*>(warp.slots[lane]);
}

int Byte(uint32_t word, int idx, bool is_signed) {
  const uint8_t byte = static_cast<uint8_t>(word >> (8 * idx));
  return is_signed ? static_cast<int8_t>(byte) : byte;
}

// Fragments into matrices (ptx_mma.h has the layouts), a product, and back.
bool DoMmaI8(Warp& warp) {
  const bool is_signed = warp.detail != 0;
  int16_t a[16][32];
  int16_t b[8][32];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int g = lane / 4;
    const int t = lane % 4;
    const Product<int32_t>& mine = At<int32_t>(warp, lane);
    for (int i = 0; i < 4; ++i) {
      for (int half = 0; half < 2; ++half) {
        const int k = 4 * t + 16 * half + i;
        a[g][k] = static_cast<int16_t>(Byte(mine.a[2 * half], i, is_signed));
        a[g + 8][k] = static_cast<int16_t>(Byte(mine.a[2 * half + 1], i, is_signed));
        b[g][k] = static_cast<int16_t>(Byte(mine.b[half], i, true));
      }
    }
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int16_t* const row = a[lane / 4 + 8 * (i / 2)];
      const int16_t* const column = b[2 * (lane % 4) + i % 2];
      int32_t sum = 0;
      for (int k = 0; k < 32; ++k) sum += row[k] * column[k];
      int32_t& d = At<int32_t>(warp, lane).d[i];
      d = static_cast<int32_t>(static_cast<uint32_t>(d) + static_cast<uint32_t>(sum));
    }
  }
  return true;
}

template <float (*kWiden)(uint16_t)>
bool DoMma16(Warp& warp) {
  double a[16][16];
  double b[8][16];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int g = lane / 4;
    const int t = lane % 4;
    const Product<float>& mine = At<float>(warp, lane);
    const auto widen = [](uint32_t word, int i) {
      return double{kWiden(static_cast<uint16_t>(word >> (16 * i)))};
    };
    for (int i = 0; i < 2; ++i) {
      for (int half = 0; half < 2; ++half) {
        const int k = 2 * t + 8 * half + i;
        a[g][k] = widen(mine.a[2 * half], i);
        a[g + 8][k] = widen(mine.a[2 * half + 1], i);
        b[g][k] = widen(mine.b[half], i);
      }
    }
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const double* const row = a[lane / 4 + 8 * (i / 2)];
      const double* const column = b[2 * (lane % 4) + i % 2];
      float& d = At<float>(warp, lane).d[i];
      double sum = d;
      for (int k = 0; k < 16; ++k) sum += row[k] * column[k];
      d = static_cast<float>(sum);
    }
  }
  return true;
}

// The bytes of a descriptor's tile: `rows` rows of 32, as 16-bit integers.
void ReadTile(const unsigned char* shared, uint64_t descriptor, int rows, bool is_signed,
              int16_t* tile) {
  const uint32_t start = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < 32; ++k) {
      uint32_t address = start + static_cast<uint32_t>(row * 128 + k);
      address ^= (address >> 7 & 7) << 4;
      const unsigned char byte = shared[address];
      tile[row * 32 + k] = is_signed ? static_cast<int8_t>(byte) : int16_t{byte};
    }
  }
}

void CheckDescriptor(uint64_t descriptor, int rows, const char* what) {
  Machine& machine = ThisMachine();
  if (descriptor >> 62 != 1 || (descriptor >> 32 & 0x3fff) != 1024 >> 4 ||
      (descriptor >> 49 & 7) != 0)
    machine.Fail("WgmmaI8: the descriptor of %s is not SmemDescriptor's", what);
  // The last row's last chunk, wherever the swizzle puts it, lies in its line of 128 bytes.
  const size_t start = (descriptor & 0x3fff) << 4;
  const size_t end = start / 128 * 128 + static_cast<size_t>(rows) * 128;
  if (start % 32 != 0 || start / 128 % 8 != 0)
    machine.Fail(
        "WgmmaI8: %s begins at offset %zu; k advances by 32 bytes in rows from a multiple "
        "of 1024",
        what, start);
  if (end > machine.block().shared_bytes)
    machine.Fail("WgmmaI8: %s ends at %zu, shared memory at %zu", what, end,
                 machine.block().shared_bytes);
}

constexpr int kRows = 64;

void ReadOperands(const WarpGroup& group, const WgmmaProduct& product, int16_t* a, int16_t* b) {
  const unsigned char* const shared = group.block->shared->data();
  ReadTile(shared, product.a, kRows, product.is_signed, a);
  ReadTile(shared, product.b, product.columns, true, b);
}

void Execute(const WarpGroup& group, const WgmmaProduct& product) {
  int16_t a[kRows * 32];
  int16_t b[256 * 32];
  const size_t b_bytes = static_cast<size_t>(product.columns) * 32 * sizeof(int16_t);
  if (product.early.empty()) {
    ReadOperands(group, product, a, b);
  } else {
    std::memcpy(a, product.early.data(), sizeof a);
    std::memcpy(b, product.early.data() + sizeof a, b_bytes);
  }
  for (int thread = 0; thread < 4 * kWarpSize; ++thread) {
    const int lane = thread % kWarpSize;
    for (int i = 0; i < product.columns / 2; ++i) {
      const int16_t* const row = a + 32 * (thread / kWarpSize * 16 + lane / 4 + 8 * (i / 2 % 2));
      const int16_t* const column = b + 32 * (i / 4 * 8 + 2 * (lane % 4) + i % 2);
      int32_t sum = 0;
      for (int k = 0; k < 32; ++k) sum += row[k] * column[k];
      int32_t& d = product.d[thread][i];
      d = static_cast<int32_t>((product.accumulate ? static_cast<uint32_t>(d) : 0u) +
                               static_cast<uint32_t>(sum));
    }
  }
}

struct WgmmaCall {
  int32_t* d;
  int columns;
  bool is_signed;
  uint64_t a;
  uint64_t b;
  bool accumulate;
};

bool IssueWgmma(Warp& warp) {
  Machine& machine = ThisMachine();
  WarpGroup& group = *warp.group;
  const WgmmaCall& call = *static_cast<WgmmaCall*>(warp.slots[0]);
  for (int lane = 1; lane < kWarpSize; ++lane) {
    const WgmmaCall& other = *static_cast<WgmmaCall*>(warp.slots[lane]);
    if (other.a != call.a || other.b != call.b || other.accumulate != call.accumulate)
      machine.Fail("WgmmaI8: lanes 0 and %d of a warp differ in descriptors or accumulation", lane);
  }
  if (!warp.wgmma_fenced) machine.Fail("WgmmaI8: no WgmmaFence before");
  const size_t idx = warp.wgmma_issued++ - group.num_done;
  if (idx == group.products.size()) {
    CheckDescriptor(call.a, kRows, "A");
    CheckDescriptor(call.b, call.columns, "B");
    group.products.push_back(
        {call.columns, call.is_signed, call.accumulate, call.a, call.b, {}, 0, {}});
  }
  WgmmaProduct& product = group.products[idx];
  if (product.columns != call.columns || product.is_signed != call.is_signed ||
      product.accumulate != call.accumulate || product.a != call.a || product.b != call.b)
    machine.Fail("WgmmaI8: the warps of a warp group issue different products");
  for (int lane = 0; lane < kWarpSize; ++lane)
    product.d[warp.idx % 4 * kWarpSize + lane] = static_cast<WgmmaCall*>(warp.slots[lane])->d;
  // Operands may be read from now on, and as late as the wait: both happen.
  if (++product.issued_by < 4) return true;
  for (int w = 0; w < 4; ++w) {
    if (group.warps[w].blocked_at == Op::kWgmmaWait) machine.ReleaseWarp(group.warps[w]);
  }
  if (machine.Random(4) == 0) {
    const size_t a_bytes = kRows * 32 * sizeof(int16_t);
    product.early.resize(a_bytes + static_cast<size_t>(call.columns) * 32 * sizeof(int16_t));
    ReadOperands(group, product, reinterpret_cast<int16_t*>(product.early.data()),
                 reinterpret_cast<int16_t*>(product.early.data() + a_bytes));
  }
  return true;
}

// What the warp's wait needs done, or 0.
size_t NeededProducts(const Warp& warp, size_t pending) {
  const std::vector<size_t>& commits = warp.wgmma_commits;
  return commits.size() > pending ? commits[commits.size() - 1 - pending] : 0;
}

}  // namespace

void MmaI8(int32_t* d, const uint32_t* a, const uint32_t* b, bool is_signed) {
  Product<int32_t> mine = {d, a, b};
  ThisMachine().Meet(Op::kMmaI8, is_signed, &mine, &DoMmaI8);
}

void WgmmaI8(int columns, bool is_signed, int32_t* d, uint64_t a, uint64_t b, bool accumulate) {
  Machine& machine = ThisMachine();
  if (machine.warp().idx / 4 * 4 + 4 > machine.block().num_warps)
    machine.Fail("WgmmaI8: warp %d is in no whole warp group", machine.warp().idx);
  WgmmaCall mine = {d, columns, is_signed, a, b, accumulate};
  machine.Meet(Op::kWgmmaI8, static_cast<uint64_t>(columns * 2 + is_signed), &mine, &IssueWgmma);
}

void WgmmaWait(int pending) {
  Machine& machine = ThisMachine();
  for (;;) {
    // The first warp of the four to wait has the product done for all, but not before all have
    // issued it: the hardware works on whole warp groups.
    bool is_done = false;
    machine.Meet(Op::kWgmmaWait, static_cast<uint64_t>(pending), &is_done, [](Warp& warp) {
      WarpGroup& group = *warp.group;
      const size_t needed = NeededProducts(warp, warp.detail);
      for (; group.num_done < needed && group.products.front().issued_by == 4; ++group.num_done) {
        Execute(group, group.products.front());
        group.products.pop_front();
      }
      const bool done = group.num_done >= needed;
      if (done) warp.wgmma_waited = std::max(warp.wgmma_waited, needed);
      for (void* const slot : warp.slots) *static_cast<bool*>(slot) = done;
      return done;
    });
    if (is_done) return;
  }
}

}  // namespace simt

using simt::Op;
using simt::ThisMachine;
using simt::Warp;

void LoadMatrix4(uint32_t (&r)[4], const void* shared_row) {
  simt::MatrixLoad mine = {r, ThisMachine().SharedOffset(shared_row, 16, 16, "LoadMatrix4")};
  ThisMachine().Meet(Op::kLoadMatrix4, 0, &mine, [](Warp& warp) {
    const unsigned char* const shared = warp.block->shared->data();
    for (int lane = 0; lane < simt::kWarpSize; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        const int source = 8 * matrix + lane / 4;
        const uint32_t row = static_cast<simt::MatrixLoad*>(warp.slots[source])->row;
        std::memcpy(&static_cast<simt::MatrixLoad*>(warp.slots[lane])->r[matrix],
                    shared + row + 4 * (lane % 4), 4);
      }
    }
    return true;
  });
}

void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::Product<float> mine = {d, a, b};
  ThisMachine().Meet(Op::kMmaF16, 0, &mine, &simt::DoMma16<kernels::HalfToFloat>);
}

void MmaBF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::Product<float> mine = {d, a, b};
  ThisMachine().Meet(Op::kMmaBF16, 0, &mine, &simt::DoMma16<kernels::BFloat16ToFloat>);
}

uint64_t SmemDescriptor(const void* shared) {
  const uint64_t address = ThisMachine().SharedOffset(shared, 1024, 16, "SmemDescriptor") >> 4;
  return address | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

void WgmmaFence() {
  ThisMachine().Meet(Op::kWgmmaFence, 0, nullptr, [](Warp& warp) {
    warp.wgmma_fenced = true;
    return true;
  });
}

void WgmmaCommit() {
  ThisMachine().Meet(Op::kWgmmaCommit, 0, nullptr, [](Warp& warp) {
    warp.wgmma_commits.push_back(warp.wgmma_issued);
    return true;
  });
}

}  // namespace octavo::cuda
