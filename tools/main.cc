// The binary `octavo`: registers the verbs, runs the one asked for, maps errors to exit codes.
// The only place that catches: CLI11 throws while parsing, and anything may run out of memory.
#include <CLI/CLI.hpp>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "tools/command.h"
#include "tools/exit_code.h"
#include "tools/help_formatter.h"
#include "tools/signals.h"
#include "tools/text.h"
#include "tools/usage_error.h"

namespace octavo::tools {
namespace {

ExitCode Report(const Status& status) {
  if (!status.ok()) PrintError(status.message());
  return ExitCodeOf(status.code());
}

// Help is an "error" to CLI11, too.
ExitCode ReportParse(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_name() == "CallForHelp") {
    const auto chosen = app.get_subcommands();
    Print(chosen.empty() ? app.help() : chosen.back()->help());
    return Report(FlushStdout());
  }
  PrintError(DescribeUsageError(app, error));
  return kWrongUsage;
}

ExitCode Main(int argc, char** argv) {
  CLI::App app("LLM.int8() checkpoints: convert, inspect, verify, multiply", "octavo");
  bool version = false;
  app.add_flag("--version", version, "Print the version and how it was built");
  app.require_subcommand(0, 1);
  app.formatter(std::make_shared<HelpFormatter>());
  app.get_formatter()->column_width(26);
  app.footer(
      "Run \"octavo VERB --help\" for a verb's options and examples.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a file is invalid or not intact.");
  const Verb verbs[] = {RegisterConvert(app), RegisterJoin(app),    RegisterInspect(app),
                        RegisterVerify(app),  RegisterDiff(app),    RegisterRepack(app),
                        RegisterExport(app),  RegisterForward(app), RegisterDevices(app),
                        RegisterBench(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ReportParse(app, error);
  }
  Status status;
  ExitCode done = kDone;
  const auto chosen = app.get_subcommands();
  if (version) {
    Print(VersionText());
  } else if (chosen.empty()) {
    status = Status(ErrorCode::kInvalidArgument, "no verb given, see octavo --help");
  }
  for (const Verb& verb : verbs) {
    if (version || !verb.app->parsed()) continue;
    status = verb.run();
    if (status.ok() && verb.exit_code) done = verb.exit_code();
  }
  const Status flushed = FlushStdout();
  return status.ok() && flushed.ok() ? done : Report(status.ok() ? flushed : status);
}

}  // namespace
}  // namespace octavo::tools

int main(int argc, char** argv) {
  octavo::tools::FailWritesWithErrors();
  octavo::tools::ExplainBusErrors();
  try {
    return octavo::tools::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    octavo::tools::PrintError("out of memory");
  } catch (const std::exception& error) {
    octavo::tools::PrintError(std::string("unexpected: ") + error.what());
  }
  return 1;
}
