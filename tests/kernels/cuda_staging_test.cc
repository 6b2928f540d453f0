// Uploads cut into chunks: every byte once, rows padded with zeros, nothing read or written beside.
#include "kernels/cuda/staging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/testing/guarded_buffer.h"
#include "tests/testing/random.h"

namespace octavo::cuda {
namespace {

using kernels::CudaUpload;
using testing::GuardedBuffer;

struct Sizes {
  size_t rows, row_bytes, host_stride, device_stride;
};

// Uploads through chunks of a guarded buffer each, and compares with the plain loop.
void Check(const Sizes& sizes, int32_t num_threads) {
  SCOPED_TRACE(::testing::Message()
               << sizes.rows << " rows of " << sizes.row_bytes << ", strides " << sizes.host_stride
               << " and " << sizes.device_stride << ", " << num_threads << " threads");
  GuardedBuffer host((sizes.rows - 1) * sizes.host_stride + sizes.row_bytes, 1);
  testing::Random random(testing::TestSeed());
  std::generate_n(host.data(), (sizes.rows - 1) * sizes.host_stride + sizes.row_bytes,
                  [&] { return static_cast<unsigned char>(random.Below(255) + 1); });
  std::vector<unsigned char> device(sizes.rows * sizes.device_stride, 0xCC);
  const CudaUpload piece{host.data(),       sizes.rows,    sizes.row_bytes,
                         sizes.host_stride, device.data(), sizes.device_stride};
  ASSERT_TRUE(IsPossible(piece));
  const std::vector<Chunk> chunks = CutIntoChunks({&piece, 1}, num_threads);
  size_t next = 0;
  for (const Chunk& chunk : chunks) {
    ASSERT_EQ(chunk.begin, next);
    ASSERT_LE(chunk.bytes, kStagingBytes);
    ASSERT_GT(chunk.bytes, 0u);
    GuardedBuffer staging(chunk.bytes, 1);
    FillChunk(chunk, reinterpret_cast<std::byte*>(staging.data()));
    ASSERT_TRUE(staging.Intact());
    std::memcpy(device.data() + chunk.begin, staging.data(), chunk.bytes);
    next += chunk.bytes;
  }
  ASSERT_EQ(next, device.size());
  for (size_t row = 0; row < sizes.rows; ++row) {
    const unsigned char* at = device.data() + row * sizes.device_stride;
    ASSERT_EQ(std::memcmp(at, host.data() + row * sizes.host_stride, sizes.row_bytes), 0) << row;
    ASSERT_TRUE(std::all_of(at + sizes.row_bytes, at + sizes.device_stride, [](unsigned char byte) {
      return byte == 0;
    })) << row;
  }
}

TEST(Staging, EveryByteOnceAndZerosBetweenRows) {
  for (const int32_t num_threads : {1, 3, 64}) {
    Check({1, 1, 1, 1}, num_threads);
    Check({1, 77, 77, 128}, num_threads);
    Check({5, 83, 83, 128}, num_threads);
    Check({5, 83, 90, 83}, num_threads);
    Check({3000, 257, 257, 384}, num_threads);
    Check({3, 1000003, 1000003, 1000064}, num_threads);
    Check({1, 5 << 20, 5 << 20, 5 << 20}, num_threads);
    Check({2000, 4096, 4096, 4096}, num_threads);
  }
}

TEST(Staging, PiecesComeOneAfterTheOther) {
  unsigned char memory[64] = {};
  const CudaUpload pieces[] = {{memory, 1, 10, 10, memory, 10},
                               {memory, 0, 10, 10, memory, 10},
                               {nullptr, 4, 0, 0, nullptr, 0},
                               {memory, 2, 7, 7, memory, 16}};
  const std::vector<Chunk> chunks = CutIntoChunks(pieces, 2);
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].piece, &pieces[0]);
  EXPECT_EQ(chunks[0].bytes, 10u);
  EXPECT_EQ(chunks[1].piece, &pieces[3]);
  EXPECT_EQ(chunks[1].bytes, 32u);
}

// A short upload is cut so that no thread stands idle, but not into crumbs.
TEST(Staging, ChunksSuitTheThreads) {
  const auto count = [](size_t bytes, int32_t num_threads) {
    std::byte byte;
    const CudaUpload piece{&byte, 1, bytes, bytes, &byte, bytes};
    return CutIntoChunks({&piece, 1}, num_threads).size();
  };
  EXPECT_EQ(count(16 << 20, 16), 32u);
  EXPECT_EQ(count(kSmallestChunk, 16), 1u);
  EXPECT_EQ(count(10 * kSmallestChunk, 16), 10u);
  EXPECT_EQ(count(100 * kStagingBytes, 4), 100u);
}

TEST(Staging, ImpossiblePieces) {
  unsigned char memory[64] = {};
  EXPECT_TRUE(IsPossible({memory, 2, 8, 8, memory, 8}));
  EXPECT_TRUE(IsPossible({nullptr, 0, 8, 0, nullptr, 0}));
  EXPECT_FALSE(IsPossible({memory, 2, 8, 8, memory, 7}));
  EXPECT_FALSE(IsPossible({memory, 2, 8, 7, memory, 8}));
  EXPECT_TRUE(IsPossible({memory, 1, 8, 0, memory, 8}));
  EXPECT_FALSE(IsPossible({nullptr, 1, 8, 8, memory, 8}));
  EXPECT_FALSE(IsPossible({memory, 1, 8, 8, nullptr, 8}));
  EXPECT_FALSE(IsPossible({memory, SIZE_MAX / 2, 8, 8, memory, 8}));
}

}  // namespace
}  // namespace octavo::cuda
