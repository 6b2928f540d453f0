// Where chunks are, and rule R24: what may be a compressed chunk.
#define ZSTD_STATIC_LINKING_ONLY
#include "format/chunk.h"

#include <zstd.h>

#include <string>

#include "tests/format/octavo_files.h"

namespace octavo::testing {
namespace {

const std::string kText(1000, 'z');

struct FrameOptions {
  int window_log = 0;
  bool with_checksum = false;
  bool with_size = true;
};

Bytes Frame(const std::string& raw, const FrameOptions& options = {}) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, options.with_checksum);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, options.with_size);
  if (options.window_log != 0)
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, options.window_log);
  Bytes frame(ZSTD_compressBound(raw.size()) + 64);
  ZSTD_outBuffer out = {frame.data(), frame.size(), 0};
  ZSTD_inBuffer in = {raw.data(), raw.size(), 0};
  if (!options.with_size) ZSTD_compressStream2(context, &out, &in, ZSTD_e_continue);
  EXPECT_EQ(ZSTD_compressStream2(context, &out, &in, ZSTD_e_end), 0u);
  ZSTD_freeCCtx(context);
  frame.resize(out.pos);
  return frame;
}

Bytes Plus(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes FromText(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void ExpectRefusedFrame(const Bytes& frame, const std::string& part, uint64_t raw_bytes = 1000) {
  std::vector<std::byte> raw;
  ExpectRefused(format::Decompress(frame, raw_bytes, &raw), ErrorCode::kInvalidFile,
                {part, "(R24)"});
}

TEST(Decompress, GivesBackWhatWasCompressed) {
  std::vector<std::byte> raw;
  for (const FrameOptions& options :
       {FrameOptions{}, FrameOptions{.with_checksum = true}, FrameOptions{.with_size = false},
        FrameOptions{.window_log = 26, .with_size = false}}) {
    ASSERT_TRUE(format::Decompress(Frame(kText, options), 1000, &raw).ok());
    EXPECT_TRUE(raw == FromText(kText));
  }
}

TEST(Decompress, R24RejectsWhatIsNotOneFrame) {
  const Bytes skippable = FromText(std::string("\x50\x2a\x4d\x18\x01\0\0\0x", 9));
  ExpectRefusedFrame({}, "not a zstd frame");
  ExpectRefusedFrame(FromText("hello hello hello"), "not a zstd frame");
  ExpectRefusedFrame(skippable, "skippable");
  ExpectRefusedFrame(Plus(skippable, Frame(kText)), "skippable");
  ExpectRefusedFrame(Plus(Frame(kText), skippable), "bytes after");
  ExpectRefusedFrame(Plus(Frame(kText), FromText("x")), "bytes after");
  ExpectRefusedFrame(Plus(Frame(kText.substr(500)), Frame(kText.substr(500))), "");
  // The same without stated sizes: only the second frame gives it away.
  const Bytes half = Frame(kText.substr(500), {.with_size = false});
  ExpectRefusedFrame(Plus(half, half), "bytes after");
}

TEST(Decompress, R24RejectsAnotherSize) {
  for (const bool with_size : {true, false}) {
    const Bytes frame = Frame(kText, {.with_size = with_size});
    ExpectRefusedFrame(frame, "", 999);
    ExpectRefusedFrame(frame, "1000 bytes", 1001);
  }
}

TEST(Decompress, R24RejectsALargeWindow) {
  ExpectRefusedFrame(Frame(kText, {.window_log = 27, .with_size = false}), "window");
}

TEST(Decompress, R24RejectsADictionary) {
  // A dictionary with an identifier: magic, then the number 7; the content need not be one for the
  // header.
  Bytes frame = Frame(kText);
  const uint8_t descriptor = std::to_integer<uint8_t>(frame[4]);
  frame[4] = static_cast<std::byte>(descriptor | 1);
  frame.insert(frame.begin() + ((descriptor & 0x20) != 0 ? 5 : 6), std::byte{7});
  ExpectRefusedFrame(frame, "dictionary");
}

TEST(Decompress, R24RejectsDamageAnywhereOrGivesTheSameSize) {
  const Bytes frame = Frame(kText + "some more text", {.with_checksum = true});
  for (size_t bit = 0; bit < frame.size() * 8; ++bit) {
    Bytes changed = frame;
    changed[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    std::vector<std::byte> raw;
    const Status status = format::Decompress(changed, 1014, &raw);
    EXPECT_TRUE(!status.ok() || raw == FromText(kText + "some more text")) << bit;
  }
  for (size_t size = 0; size < frame.size(); ++size) {
    ExpectRefusedFrame(Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)), "",
                       1014);
  }
}

TEST(Decompress, R24RejectsASizeThatNoFrameOfSoFewBytesCanGive) {
  ExpectRefusedFrame(Frame(kText, {.with_size = false}), "cannot give", 64u << 20);
}

TEST(Compress, LeavesRawWhatWouldNotShrink) {
  std::vector<std::byte> buffer;
  EXPECT_FALSE(*format::Compress({}, &buffer));
  EXPECT_FALSE(*format::Compress(FromText("x"), &buffer));
  EXPECT_FALSE(*format::Compress(FromText("0123456789abcdef"), &buffer));
  EXPECT_TRUE(*format::Compress(FromText(kText), &buffer));
  EXPECT_LT(buffer.size(), 100u);
}

TEST(Chunks, CoverEveryRowOnceAndDoNotCrossMatrices) {
  for (uint64_t rows = 1; rows < 25; ++rows) {
    for (uint64_t matrix_rows = 0; matrix_rows <= rows; ++matrix_rows) {
      if (matrix_rows != 0 && rows % matrix_rows != 0) continue;
      for (uint64_t chunk_rows = 1; chunk_rows <= rows + 1; ++chunk_rows) {
        format::TensorEntry entry;
        entry.shape = Shape{rows, 2};
        entry.matrix_rows = matrix_rows;
        entry.chunk_rows = chunk_rows;
        const format::Cut cut(entry);
        uint64_t next = 0;
        for (uint64_t i = 0; i < format::NumChunks(entry); ++i) {
          const format::ChunkExtent extent = format::ChunkAt(entry, i);
          ASSERT_EQ(extent.first_row, next);
          ASSERT_GE(extent.rows, 1u);
          ASSERT_LE(extent.rows, chunk_rows);
          next += extent.rows;
          for (uint64_t row = extent.first_row; row < next; ++row) ASSERT_EQ(cut.ChunkOf(row), i);
          if (matrix_rows != 0) {
            ASSERT_EQ(extent.first_row / matrix_rows, (next - 1) / matrix_rows);
          }
        }
        ASSERT_EQ(next, rows);
      }
    }
  }
}

}  // namespace
}  // namespace octavo::testing
