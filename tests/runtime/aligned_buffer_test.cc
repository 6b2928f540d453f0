#include "runtime/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace octavo {
namespace {

uintptr_t AddressOf(const AlignedBuffer& buffer) {
  return reinterpret_cast<uintptr_t>(buffer.as<std::byte>());
}

TEST(AlignedBuffer, LargeOnesBeginWithALargePage) {
  for (const size_t bytes : {size_t{1}, size_t{1000}, kLargePage - 1, kLargePage, kLargePage + 1,
                             3 * kLargePage + 12345}) {
    Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(buffer->bytes(), bytes);
    EXPECT_EQ(AddressOf(*buffer) % (bytes >= kLargePage ? kLargePage : kAlignment), 0u) << bytes;
    std::memset(buffer->as<std::byte>(), 1, bytes);
  }
}

TEST(AlignedBuffer, ASmallOneTakesTheMemoryOfALargeOneAndTheOtherWayRound) {
  AlignedBuffer buffer;  // sanitizers see memory that goes back with another alignment
  for (const size_t bytes : {kLargePage, size_t{100}, 2 * kLargePage, size_t{0}}) {
    buffer = std::move(AlignedBuffer::Allocate(bytes)).value();
    EXPECT_EQ(buffer.bytes(), bytes);
  }
}

TEST(AlignedBuffer, MoreThanThereCanBeIsAnError) {
  for (const size_t bytes : {SIZE_MAX, size_t{PTRDIFF_MAX}, SIZE_MAX - kLargePage})
    EXPECT_EQ(AlignedBuffer::Allocate(bytes).code(), ErrorCode::kLimit) << bytes;
}

}  // namespace
}  // namespace octavo
