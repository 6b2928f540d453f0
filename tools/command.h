// One verb of the command line: main registers each, parses, and runs the one that was asked for.
#pragma once

#include <functional>
#include <string>

#include "octavo/result.h"
#include "tools/exit_code.h"

namespace CLI {
class App;
}

namespace octavo::tools {

// `run` is called at most once, after parsing. It prints data to standard output only when it has
// succeeded; its error is printed by main and mapped to an exit code.
struct Verb {
  CLI::App* app = nullptr;
  std::function<Status()> run;
  // What the process says at its end where `run` has succeeded; empty: kDone.
  std::function<ExitCode()> exit_code = {};
};

Verb RegisterConvert(CLI::App& parent);
Verb RegisterInspect(CLI::App& parent);
Verb RegisterJoin(CLI::App& parent);
Verb RegisterVerify(CLI::App& parent);
Verb RegisterDiff(CLI::App& parent);
Verb RegisterRepack(CLI::App& parent);
Verb RegisterExport(CLI::App& parent);
Verb RegisterForward(CLI::App& parent);
Verb RegisterDevices(CLI::App& parent);
Verb RegisterBench(CLI::App& parent);

// What `octavo --version` prints: version, compiler, kernels, libraries, readable formats.
std::string VersionText();

}  // namespace octavo::tools
