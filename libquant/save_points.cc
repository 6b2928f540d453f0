#include "libquant/save_points.h"

namespace octavo::quant {

uint64_t SavePoints::BytesDone() const {
  if (writer_->saved_states().empty()) return 0;
  format::ByteReader last(writer_->saved_states().back());
  last.Get<Pass>();
  last.Get<uint64_t>();
  return last.Get<uint64_t>();
}

Result<size_t> SavePoints::Begin(Pass pass,
                                 const std::function<void(format::ByteReader*)>& restore) {
  const auto& states = writer_->saved_states();
  pass_ = pass;
  first_item_ = num_written_ = 0;
  for (; next_state_ < states.size(); ++next_state_) {
    format::ByteReader in(states[next_state_]);
    if (in.Get<Pass>() != pass) break;
    first_item_ = in.Get<uint64_t>();
    progress_->SetDone(in.Get<uint64_t>());
    restore(&in);
    if (!in.AtEnd()) return Status(ErrorCode::kIo, "cannot resume: the journal is damaged");
  }
  return first_item_;
}

Status SavePoints::Committed(size_t item, uint64_t bytes, bool ends_pass,
                             const std::function<void(format::ByteWriter*)>& put_state) {
  std::unique_lock lock(mutex_);
  bytes_since_ += bytes;
  const bool is_due =
      bytes_since_ >= interval_bytes_ || (ends_pass && progress_->bytes_total() >= interval_bytes_);
  const bool can_wait = bytes_since_ < 2 * interval_bytes_ && !ends_pass;
  if (!is_due || (pending_ && can_wait)) return {};
  settled_.wait(lock, [&] { return !pending_ || has_failed_; });
  if (has_failed_) return {};  // whoever failed says why
  format::ByteWriter state;
  state.Put(pass_);
  state.Put<uint64_t>(item + 1);
  state.Put<uint64_t>(progress_->bytes_done());
  put_state(&state);
  pending_ = {.point = writer_->TakeSavePoint(state.bytes()),
              .end_item = item + 1,
              .num_unwritten = item + 1 - first_item_ - num_written_};
  bytes_since_ = 0;
  return {};
}

Status SavePoints::Written(size_t item) {
  {
    const std::lock_guard lock(mutex_);
    ++num_written_;
    if (!pending_ || item >= pending_->end_item || --pending_->num_unwritten > 0) return {};
  }
  // Until it is settled nobody else touches it.
  const Status status = writer_->Save(pending_->point);
  const std::lock_guard lock(mutex_);
  pending_.reset();
  has_failed_ = has_failed_ || !status.ok();
  settled_.notify_all();
  return status;
}

void SavePoints::Fail() {
  const std::lock_guard lock(mutex_);
  has_failed_ = true;
  settled_.notify_all();
}

}  // namespace octavo::quant
