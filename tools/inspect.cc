// octavo inspect: what is in a .8vo file, for people and as JSON.
#include <CLI/CLI.hpp>
#include <memory>

#include "octavo/reader.h"
#include "tools/command.h"
#include "tools/inspect_text.h"
#include "tools/json.h"
#include "tools/near_names.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  octavo inspect gpt2.8vo
  octavo inspect gpt2.8vo --module transformer.h.0.attn.c_attn
  octavo inspect gpt2.8vo --asset config.json > config.json
  octavo inspect gpt2.8vo --json | jq '.summary')";

struct InspectCommand {
  std::string path, module, asset;
  bool modules = false, tensors = false, manifest = false, json = false;

  void Register(CLI::App& app);
  Status CheckViews() const;
  Status Run() const;
  Status PrintModule(const format::Reader& reader) const;
  Status PrintAsset(const format::Reader& reader) const;
};

void InspectCommand::Register(CLI::App& app) {
  app.add_option("FILE", path, "A .8vo file or the index of a sharded model")->required();
  app.add_flag("--modules", modules, "Every module on its own line, with the reason");
  app.add_flag("--tensors", tensors, "Every tensor: type, shape, size, place");
  app.add_flag("--manifest", manifest, "The manifest as it is stored");
  app.add_option("--module", module, "One module in full")->option_text("NAME");
  app.add_option("--asset", asset, "The bytes of an embedded file, to standard output")
      ->option_text("NAME");
  app.add_flag("--json", json, "As JSON: the whole file, or the one module of --module");
  app.footer(kExamples);
}

Status InspectCommand::CheckViews() const {
  const int texts = modules + tensors + manifest + !asset.empty();
  if (texts + !module.empty() > 1) {
    return Status(ErrorCode::kInvalidArgument,
                  "at most one of --modules, --tensors, --manifest, --module and --asset");
  }
  if (json && texts > 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "--json has all modules and tensors: it goes with --module only");
  }
  return Status();
}

Status InspectCommand::PrintModule(const format::Reader& reader) const {
  const format::Module* found = reader.FindModule(module);
  if (found == nullptr) {
    std::vector<std::string> names;
    for (const format::Module& known : reader.manifest().modules) names.push_back(known.name);
    return Status(ErrorCode::kNotFound,
                  path + ": no module \"" + module + "\"" + SuggestNames(module, names));
  }
  const ModelFacts facts = FactsOf(reader);
  const auto module_idx = static_cast<size_t>(found - reader.manifest().modules.data());
  const uint64_t kept = facts.module_kept_columns[module_idx];
  Print(json ? ToText(ModuleJson(*found, kept, facts.module_bytes[module_idx]))
             : ModuleText(reader, *found, kept));
  return Status();
}

Status InspectCommand::PrintAsset(const format::Reader& reader) const {
  const format::TensorEntry* found = reader.FindAsset(asset);
  if (found == nullptr) {
    std::vector<std::string> names;
    for (const format::TensorEntry& known : reader.manifest().assets) names.push_back(known.name);
    return Status(ErrorCode::kNotFound, path + ": no asset \"" + asset + "\"" + ListNames(names));
  }
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> content, reader.ReadAll(*found));
  Print({reinterpret_cast<const char*>(content.data()), content.size()});
  return Status();
}

Status InspectCommand::Run() const {
  OCTAVO_RETURN_IF_ERROR(CheckViews());
  OCTAVO_ASSIGN_OR_RETURN(const format::Reader reader, format::Reader::Open(path));
  if (!module.empty()) return PrintModule(reader);
  if (!asset.empty()) return PrintAsset(reader);
  if (manifest) {
    Print(reader.manifest_text());
  } else if (json) {
    Print(ToText(InspectJson(reader)));
  } else if (modules) {
    Print(ModulesText(reader));
  } else if (tensors) {
    Print(TensorsText(reader));
  } else {
    Print(SummaryText(reader));
  }
  return Status();
}

}  // namespace

Verb RegisterInspect(CLI::App& parent) {
  CLI::App* app = parent.add_subcommand("inspect", "Say what is in a .8vo file")->group("Verbs");
  auto command = std::make_shared<InspectCommand>();
  command->Register(*app);
  return {app, [command] { return command->Run(); }};
}

}  // namespace octavo::tools
