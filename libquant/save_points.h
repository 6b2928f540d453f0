// When the work so far is made durable, so that an interrupted conversion goes on there
// (docs/reliability.md).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "libquant/progress_meter.h"
#include "octavo/byte_stream.h"
#include "octavo/writer.h"

namespace octavo::quant {

// The passes over the source, in their order.
enum class Pass : uint8_t { kPrescan = 1, kConvert = 2 };

// Save points of one writer. A point is taken in an item's commit, in the order of the items, and
// saved by the thread that writes the last of the items before it, while the others go on; work is
// never more than about two intervals ahead of what is saved.
class SavePoints {
 public:
  // `interval_bytes`: of the source, between two points. The writer and the meter must outlive
  // this.
  SavePoints(format::Writer* writer, uint64_t interval_bytes, ProgressMeter* progress)
      : writer_(writer), interval_bytes_(interval_bytes), progress_(progress) {}

  // Of the source, by interrupted runs.
  uint64_t BytesDone() const;
  // Gives `restore` what an interrupted run saved of this pass, one state after the other; the
  // number of items done, from which this run goes on. Errors: kIo, if a state cannot be read.
  Result<size_t> Begin(Pass pass, const std::function<void(format::ByteReader*)>& restore);

  // In a commit: the item's bytes count. Where a point is due, `put_state` gives what restore must
  // know. `ends_pass`: a point is due, if there will be any at all. Errors: kIo.
  Status Committed(size_t item, uint64_t bytes, bool ends_pass,
                   const std::function<void(format::ByteWriter*)>& put_state);

  // An item's writing, on any thread, after its commit. Destroyed before Done, it says that the
  // item failed.
  class Writing {
   public:
    explicit Writing(SavePoints* points) : points_(points) {}
    ~Writing() {
      if (points_ != nullptr) points_->Fail();
    }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;
    // Errors: kIo, of a point that was saved now.
    Status Done(size_t item) {
      SavePoints* points = std::exchange(points_, nullptr);
      return points == nullptr ? Status() : points->Written(item);
    }

   private:
    SavePoints* points_;
  };

 private:
  struct Pending {
    format::SavePoint point;
    size_t end_item = 0;  // items before this one are in it
    size_t num_unwritten = 0;
  };

  Status Written(size_t item);
  void Fail();

  format::Writer* writer_;
  const uint64_t interval_bytes_;
  ProgressMeter* progress_;
  Pass pass_ = Pass::kPrescan;
  size_t next_state_ = 0;  // of the writer's saved states
  std::mutex mutex_;
  std::condition_variable settled_;
  size_t first_item_ = 0;
  size_t num_written_ = 0;
  uint64_t bytes_since_ = 0;  // the last point was taken
  std::optional<Pending> pending_;
  bool has_failed_ = false;
};

}  // namespace octavo::quant
