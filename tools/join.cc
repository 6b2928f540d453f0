// octavo join: the parts that several machines converted become one sharded model.
#include <CLI/CLI.hpp>
#include <memory>

#include "octavo/convert.h"
#include "tools/command.h"
#include "tools/convert_report.h"
#include "tools/options.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  octavo join llama.8vo             what octavo convert wrote with -o llama.8vo and --part 1/3, 2/3, 3/3
  octavo join llama.8vo --force --json)";

struct JoinCommand {
  std::string output;
  bool overwrite = false, explain = false, json = false, quiet = false;

  void Register(CLI::App& app);
  Status Run() const;
};

void JoinCommand::Register(CLI::App& app) {
  app.add_option("OUT.8vo", output, "The output that octavo convert --part was given")->required();
  app.add_flag("--explain", explain, "List every module on its own line, with the reason");
  app.add_flag("--force", overwrite, "Overwrite an existing output");
  app.add_flag("--json", json, "Print the report as JSON");
  app.add_flag("-q,--quiet", quiet, "No report");
  app.footer(kExamples);
}

Status JoinCommand::Run() const {
  const Result<quant::ConvertReport> report = quant::Join(output, overwrite);
  if (!report.ok()) return ForceHint(report.status());
  if (json) {
    Print(ToText(ReportJson(output, *report)));
  } else if (!quiet) {
    Print(ReportText(output, *report, explain));
  }
  return Status();
}

}  // namespace

Verb RegisterJoin(CLI::App& parent) {
  CLI::App* app =
      parent.add_subcommand("join", "Put the parts of a conversion together")->group("Verbs");
  auto command = std::make_shared<JoinCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); }};
}

}  // namespace octavo::tools
