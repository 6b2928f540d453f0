// octavo devices: what this machine can run linears with, what is chosen, and why.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "octavo/device.h"
#include "octavo/thread_pool.h"
#include "tools/command.h"
#include "tools/cpu_model.h"
#include "tools/json.h"
#include "tools/table.h"
#include "tools/text.h"

namespace octavo::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  octavo devices
  OCTAVO_CPU=portable octavo devices          what would be chosen then
  octavo devices --json | jq '.backends[] | select(.usable) | .name')";

int64_t OnlineCpus() { return sysconf(_SC_NPROCESSORS_ONLN); }

std::string_view TypeName(DeviceType type) { return type == DeviceType::kCuda ? "cuda" : "cpu"; }

std::string DevicesText() {
  Table table("lll");
  for (const BackendInfo& backend : ListBackends()) {
    const char* state = backend.selected ? "selected" : backend.usable ? "usable" : "-";
    table.AddRow({backend.name, state, Escaped(backend.reason)});
  }
  return "CPU   " + Escaped(CpuModel()) + "\ncores " + std::to_string(kernels::AvailableCpus()) +
         " available to this process, " + std::to_string(OnlineCpus()) +
         " in the machine\n\nbackends\n" + table.ToString();
}

Json DevicesJson() {
  Json backends = Json::array();
  for (const BackendInfo& backend : ListBackends()) {
    backends.push_back({{"name", backend.name},
                        {"type", TypeName(backend.type)},
                        {"usable", backend.usable},
                        {"selected", backend.selected},
                        {"reason", backend.reason}});
  }
  return {{"cpu",
           {{"model", CpuModel()},
            {"available_cores", kernels::AvailableCpus()},
            {"online_cores", OnlineCpus()}}},
          {"backends", std::move(backends)}};
}

}  // namespace

Verb RegisterDevices(CLI::App& parent) {
  CLI::App* app = parent.add_subcommand("devices", "List what this machine can run linears with")
                      ->group("Verbs");
  auto json = std::make_shared<bool>(false);
  app->add_flag("--json", *json, "Print the list as JSON");
  app->footer(kExamples);
  return {app, [json] {
            Print(*json ? ToText(DevicesJson()) : DevicesText());
            return Status();
          }};
}

}  // namespace octavo::tools
