// octavo diff: how two .8vo files differ.
#include "octavo/diff.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "octavo/reader.h"
#include "tools/command.h"
#include "tools/diff_text.h"
#include "tools/options.h"
#include "tools/run_with_progress.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  octavo diff old.8vo new.8vo
  octavo diff gpt2.8vo packed.8vo --read-all     equal digests are not enough
  octavo diff old.8vo new.8vo --quiet && echo equal
  octavo diff old.8vo new.8vo --json | jq '.modules[].values')";

struct DiffCommand {
  std::string a, b;
  ProgressFlags progress;
  bool json = false;
  bool is_equal = false;
  quant::DiffOptions options;

  void Register(CLI::App& app);
  Status Run();
};

void DiffCommand::Register(CLI::App& app) {
  app.add_option("A", a, "A .8vo file or the index of a sharded model")->required();
  app.add_option("B", b, "What it is compared with")->required();
  app.add_flag("--read-all", options.read_all,
               "Read every payload, also where the digests say that both are the same");
  AddThreads(app, &options.num_threads);
  app.add_flag("--json", json, "Print the differences as JSON");
  progress.Register(app);
  app.footer(kExamples);
}

Status DiffCommand::Run() {
  OCTAVO_ASSIGN_OR_RETURN(const format::Reader one, format::Reader::Open(a));
  OCTAVO_ASSIGN_OR_RETURN(const format::Reader other, format::Reader::Open(b));
  OCTAVO_ASSIGN_OR_RETURN(const quant::DiffReport report,
                          RunWithProgress(progress.mode(), &options.progress,
                                          [&] { return quant::Diff(one, other, options); }));
  is_equal = report.equal();
  if (json) {
    Print(ToText(DiffJson(one, other, report)));
  } else if (!progress.quiet) {
    Print(DiffText(one, other, report));
  }
  return Status();
}

}  // namespace

Verb RegisterDiff(CLI::App& parent) {
  CLI::App* app =
      parent.add_subcommand("diff", "Say how two .8vo files differ; exit code 1 if they do")
          ->group("Verbs");
  auto command = std::make_shared<DiffCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); },
          [command] { return command->is_equal ? kDone : kFailed; }};
}

}  // namespace octavo::tools
