// Long work of libquant with a line of progress, until it is done or a signal comes.
#pragma once

#include "octavo/convert.h"
#include "tools/progress.h"
#include "tools/signals.h"

namespace octavo::tools {

// What `work()` returns. `callback`, one of the work's options, is set for it; the line is gone
// when this returns.
template <typename Work>
auto RunWithProgress(ProgressMode mode, quant::ProgressCallback* callback, Work work) {
  CancelOnSignals();
  ProgressLine line(mode);
  *callback = [&line](const quant::Progress& now) {
    line.Update(now.bytes_done, now.bytes_total, now.tensor == nullptr ? "" : *now.tensor);
    return !Cancelled();
  };
  return work();
}

}  // namespace octavo::tools
