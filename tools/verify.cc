// octavo verify: is a file intact, and is it what its source gives?
#include <CLI/CLI.hpp>
#include <memory>

#include "octavo/convert.h"
#include "octavo/reader.h"
#include "tools/command.h"
#include "tools/json.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/signals.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  octavo verify gpt2.8vo                       every checksum, scale and padding byte
  octavo verify gpt2.8vo --against models/gpt2     every code recomputed from the source
  octavo verify models/*.8vo --quiet)";

// What was found out about one file. `status`: why it could not be examined at all.
struct Examined {
  std::string path;
  Status status;
  std::vector<format::Finding> findings;
};

struct VerifyCommand {
  std::vector<std::string> paths;
  std::string against;
  bool json = false;
  int32_t num_threads = 0;
  ProgressFlags progress;

  void Register(CLI::App& app);
  Result<std::vector<format::Finding>> Find(const std::string& path) const;
  Status Run() const;
};

void VerifyCommand::Register(CLI::App& app) {
  app.add_option("FILE", paths, ".8vo files, or indexes of sharded models")->required();
  app.add_option("--against", against, "Also recompute everything from this source and compare")
      ->option_text("SRC");
  AddThreads(app, &num_threads);
  app.add_flag("--json", json, "Print the findings as JSON");
  progress.Register(app);
  app.footer(kExamples);
}

Result<std::vector<format::Finding>> VerifyCommand::Find(const std::string& path) const {
  ProgressLine line(progress.mode());
  const auto report = [&](const format::VerifyProgress& now) {
    line.Update(now.bytes_done, now.bytes_total, path);
    return !Cancelled();
  };
  format::ReaderOptions reader_options;
  reader_options.num_threads = num_threads;
  OCTAVO_ASSIGN_OR_RETURN(std::vector<format::Finding> findings,
                          format::Reader::Verify(path, reader_options, report));
  // A file that is not intact differs from its source in ways that say nothing new.
  if (against.empty() || !findings.empty()) return findings;
  quant::ConvertOptions convert_options;
  convert_options.num_threads = num_threads;
  convert_options.progress = [&](const quant::Progress& now) {
    line.Update(now.bytes_done, now.bytes_total, now.tensor == nullptr ? path : *now.tensor);
    return !Cancelled();
  };
  return quant::VerifyAgainst(path, against, convert_options);
}

// The message, after shard and tensor where it does not name them itself.
std::string Describe(const Examined& examined, const format::Finding& finding) {
  std::string text = finding.status.message();
  const auto names = [&text](const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  if (!finding.subject.empty() && !names(finding.subject)) text = finding.subject + ": " + text;
  if (!examined.path.ends_with(finding.file) && !names(finding.file)) {
    text = finding.file + ": " + text;
  }
  return Escaped(text);
}

std::string Text(const Examined& examined) {
  if (examined.findings.empty()) return Escaped(examined.path) + ": OK\n";
  std::string text;
  for (const format::Finding& finding : examined.findings) {
    text += Escaped(examined.path) + ": FAILED (" + Describe(examined, finding) + ")\n";
  }
  return text;
}

Json FileJson(const Examined& examined) {
  Json findings = Json::array();
  for (const format::Finding& finding : examined.findings) {
    findings.push_back({{"file", finding.file},
                        {"subject", finding.subject},
                        {"message", finding.status.message()}});
  }
  const bool ok = examined.status.ok() && examined.findings.empty();
  Json error = examined.status.ok() ? Json(nullptr) : Json(examined.status.message());
  return {{"path", examined.path},
          {"ok", ok},
          {"error", std::move(error)},
          {"findings", std::move(findings)}};
}

// The worst of all files, as the exit code will say it.
Status Summary(const std::vector<Examined>& all) {
  if (all.size() == 1 && !all[0].status.ok()) return all[0].status;
  size_t failed = 0, unexamined = 0;
  ErrorCode code = ErrorCode::kOk;
  for (const Examined& examined : all) {
    failed += !examined.findings.empty();
    unexamined += !examined.status.ok();
    if (!examined.status.ok()) code = examined.status.code();
  }
  const std::string of = " of " + Plural(all.size(), "file");
  if (failed > 0) return Status(ErrorCode::kNotIntact, std::to_string(failed) + of + " failed");
  if (unexamined == 0) return Status();
  return Status(code, std::to_string(unexamined) + of + " could not be examined");
}

Status VerifyCommand::Run() const {
  CancelOnSignals();
  std::vector<Examined> all;
  Json files = Json::array();
  for (const std::string& path : paths) {
    Result<std::vector<format::Finding>> findings = Find(path);
    Examined examined{path, findings.status(), {}};
    if (findings.ok()) examined.findings = std::move(findings).value();
    files.push_back(FileJson(examined));
    const bool shown = !progress.quiet || !examined.findings.empty();
    if (!json && examined.status.ok() && shown) Print(Text(examined));
    if (!examined.status.ok() && paths.size() > 1) PrintError(examined.status.message());
    all.push_back(std::move(examined));
    if (Cancelled()) break;
  }
  if (json) Print(ToText({{"files", std::move(files)}}));
  return Summary(all);
}

}  // namespace

Verb RegisterVerify(CLI::App& parent) {
  CLI::App* app =
      parent.add_subcommand("verify", "Check that .8vo files are intact")->group("Verbs");
  auto command = std::make_shared<VerifyCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); }};
}

}  // namespace octavo::tools
