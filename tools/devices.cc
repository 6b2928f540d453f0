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

std::string ComputeCapability(const GpuFacts& gpu) {
  return std::to_string(gpu.compute_major) + "." + std::to_string(gpu.compute_minor);
}

std::string DevicesText() {
  Table table("lll"), gpus("lllllll");
  gpus.AddRow({"GPU", "name", "compute", "memory", "SMs", "L2", "driver"});
  const std::vector<BackendInfo> backends = ListBackends();
  bool any_gpu = false;
  for (const BackendInfo& backend : backends) {
    const char* state = backend.selected ? "selected" : backend.usable ? "usable" : "-";
    table.AddRow({backend.name, state, Escaped(backend.reason)});
    if (!backend.gpu) continue;
    any_gpu = true;
    gpus.AddRow({backend.name, Escaped(backend.gpu->name), ComputeCapability(*backend.gpu),
                 FormatBytes(backend.gpu->memory_bytes),
                 std::to_string(backend.gpu->multiprocessors), FormatBytes(backend.gpu->l2_bytes),
                 "CUDA " + backend.gpu->driver_cuda});
  }
  return "CPU   " + Escaped(CpuModel()) + "\ncores " + std::to_string(kernels::AvailableCpus()) +
         " available to this process, " + std::to_string(OnlineCpus()) +
         " in the machine\n\nbackends\n" + table.ToString() +
         (any_gpu ? "\n" + gpus.ToString() : "");
}

Json GpuJson(const std::optional<GpuFacts>& gpu) {
  if (!gpu) return nullptr;
  return {{"name", gpu->name},
          {"pci_bus_id", gpu->pci_bus_id},
          {"compute_capability", ComputeCapability(*gpu)},
          {"memory_bytes", gpu->memory_bytes},
          {"multiprocessors", gpu->multiprocessors},
          {"l2_bytes", gpu->l2_bytes},
          {"driver_cuda", gpu->driver_cuda}};
}

Json DevicesJson() {
  Json backends = Json::array();
  for (const BackendInfo& backend : ListBackends()) {
    backends.push_back({{"name", backend.name},
                        {"type", TypeName(backend.type)},
                        {"usable", backend.usable},
                        {"selected", backend.selected},
                        {"reason", backend.reason},
                        {"gpu", GpuJson(backend.gpu)}});
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
