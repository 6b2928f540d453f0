// Ctrl-C, SIGTERM and SIGHUP as a question that long work asks now and then.
#pragma once

namespace octavo::tools {

// From now on the first such signal only sets a flag; a second one ends the process at once.
// A signal that was ignored before (nohup) stays ignored.
void CancelOnSignals();

// True once a signal came.
bool Cancelled();

// A mapped file that somebody shortens ends the process with a message and exit code 1 where it is read beyond its end.
void ExplainBusErrors();

// A write to a pipe that nobody reads, or beyond the limit on a file's size, fails with an error
// (EPIPE, EFBIG) instead of ending the process.
void FailWritesWithErrors();

}  // namespace octavo::tools
