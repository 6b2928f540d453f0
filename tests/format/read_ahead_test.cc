// Hints change what is in the page cache, never what is read or written.
#include "format/read_ahead.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "format/file.h"
#include "format/write_behind.h"
#include "tests/testing/temp_dir.h"

namespace octavo::format {
namespace {

constexpr uint64_t kWindow = 8u << 20;
constexpr uint64_t kBytes = 5 * kWindow + 12'345;
// Half the pages of a window. The system may hold on to a few pages that it is told to drop, or drop
// a few that others read, when memory is short or being compacted: only most of them are ours to tell.
constexpr size_t kMost = kWindow / 4096 / 2;

class PageCache : public ::testing::Test {
 protected:
  // A file on disk, of which nothing is in the page cache where the file system allows that.
  PageCache() {
    fd_ = UniqueFd(open(dir_.File("x").c_str(), O_RDWR | O_CREAT, 0600));
    const std::vector<char> bytes(kBytes, 'x');
    EXPECT_EQ(pwrite(fd_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(kBytes));
    Drop();
  }
  void Drop() {
    fsync(fd_.get());
    posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  size_t CachedPages(uint64_t offset, uint64_t bytes) const {
    void* address =
        mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd_.get(), static_cast<off_t>(offset));
    std::vector<unsigned char> pages((bytes + 4095) / 4096);
    EXPECT_EQ(mincore(address, bytes, pages.data()), 0);
    munmap(address, bytes);
    size_t cached = 0;
    for (const unsigned char page : pages) cached += page & 1;
    return cached;
  }
  void ReadAll(uint64_t offset, uint64_t bytes) {
    std::vector<char> buffer(bytes);
    EXPECT_EQ(pread(fd_.get(), buffer.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
  }

  octavo::testing::TempDir dir_;
  UniqueFd fd_;
};

TEST_F(PageCache, WhatWasReadLeavesIt) {
  if (CachedPages(0, kBytes) > 0) GTEST_SKIP() << "this file system keeps its files in memory";
  ReadAhead ahead;
  ahead.Start(fd_.get(), kBytes, /*drops_read=*/true);
  for (uint64_t at = 0; at < kBytes; at += kWindow / 2) {
    const uint64_t bytes = std::min(kWindow / 2, kBytes - at);
    ahead.Announce(at, bytes);
    ReadAll(at, bytes);
    ahead.Release(at + bytes);
    EXPECT_LT(CachedPages(0, std::max<uint64_t>(at / kWindow * kWindow, 1)), kMost) << at;
  }
  EXPECT_LT(CachedPages(0, kBytes), kMost);
}

TEST_F(PageCache, WhatWasThereBeforeStays) {
  if (CachedPages(0, kBytes) > 0) GTEST_SKIP() << "this file system keeps its files in memory";
  ReadAll(kWindow, kWindow);
  ReadAhead ahead;
  ahead.Start(fd_.get(), kBytes, /*drops_read=*/true);
  for (int pass = 0; pass < 2; ++pass) {  // the second time, too
    ahead.Announce(0, kBytes);
    ReadAll(0, kBytes);
    ahead.Release(kBytes);
    EXPECT_GT(CachedPages(kWindow, kWindow), kMost);
    EXPECT_LT(CachedPages(3 * kWindow, kWindow), kMost);
    ahead.Start(fd_.get(), kBytes, /*drops_read=*/true);
  }
}

TEST_F(PageCache, NothingIsDroppedUnlessAsked) {
  ReadAhead ahead;
  ahead.Start(fd_.get(), kBytes, /*drops_read=*/false);
  ahead.Announce(0, kBytes);
  ReadAll(0, kBytes);
  ahead.Release(kBytes);
  EXPECT_GT(CachedPages(0, kBytes), kMost);
}

TEST(ReadAhead, TakesAnyOrderAndAnyThread) {
  ReadAhead idle;  // not started: nothing happens
  idle.Announce(0, 100);
  idle.Release(100);
  const octavo::testing::TempDir dir;
  const UniqueFd fd(open(dir.File("x").c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(ftruncate(fd.get(), kBytes), 0);
  ReadAhead ahead;
  ahead.Start(fd.get(), kBytes, true);
  ahead.Announce(kBytes, 10);  // behind the end
  ahead.Announce(0, 0);
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&ahead, i] {
      for (uint64_t at = i << 18; at < kBytes; at += 1 << 20) {
        ahead.Announce(at, 1 << 18);
        ahead.Release(at);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ahead.Release(kBytes + 1);
}

TEST(WriteBehind, WritesTheSameBytes) {
  const octavo::testing::TempDir dir;
  const UniqueFd fd(open(dir.File("x").c_str(), O_RDWR | O_CREAT, 0600));
  WriteBehind behind;
  std::vector<char> block(1 << 20);
  constexpr uint64_t kBlocks = 80;
  for (uint64_t i = 0; i < kBlocks; ++i) {
    const uint64_t at = i ^ 1;  // never quite in order
    std::fill(block.begin(), block.end(), static_cast<char>(at));
    ASSERT_EQ(pwrite(fd.get(), block.data(), block.size(), static_cast<off_t>(at << 20)), 1 << 20);
    ASSERT_EQ(behind.Wrote(fd.get(), (at + 1) << 20, /*drops_written=*/true), 0);
  }
  for (uint64_t i = 0; i < kBlocks; ++i) {
    ASSERT_EQ(pread(fd.get(), block.data(), block.size(), static_cast<off_t>(i << 20)), 1 << 20);
    ASSERT_EQ(block.front(), static_cast<char>(i));
    ASSERT_EQ(block.back(), static_cast<char>(i));
  }
}

}  // namespace
}  // namespace octavo::format
