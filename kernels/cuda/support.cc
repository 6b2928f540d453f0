#include "kernels/cuda/support.h"

#include <algorithm>
#include <vector>

namespace octavo::cuda {
namespace {

constexpr int32_t kOldest = 75;  // the first with int8 tensor cores that these kernels use

struct Architecture {
  int32_t number = 0;
  bool specific = false;  // 90a: runs there and nowhere else
  bool machine_code = false;
  bool ptx = false;
};

bool TakeSuffix(std::string_view* word, std::string_view suffix) {
  if (!word->ends_with(suffix)) return false;
  word->remove_suffix(suffix.size());
  return true;
}

Architecture Parse(std::string_view word) {
  Architecture architecture;
  const bool real = TakeSuffix(&word, "-real"), is_virtual = TakeSuffix(&word, "-virtual");
  architecture.machine_code = !is_virtual;
  architecture.ptx = !real;
  architecture.specific = TakeSuffix(&word, "a");
  for (const char digit : word) architecture.number = architecture.number * 10 + (digit - '0');
  return architecture;
}

std::vector<Architecture> ParseList(std::string_view list) {
  std::vector<Architecture> parsed;
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    parsed.push_back(Parse(list.substr(0, end)));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return parsed;
}

std::string Decimal(int32_t tenfold) {
  return std::to_string(tenfold / 10) + "." + std::to_string(tenfold % 10);
}

std::string Name(const Architecture& architecture) {
  return "sm_" + std::to_string(architecture.number) + (architecture.specific ? "a" : "");
}

// A device runs machine code of its own generation up to itself, and PTX of any before it.
const Architecture* BestFor(const std::vector<Architecture>& built, int32_t device) {
  const Architecture *code = nullptr, *ptx = nullptr;
  // What is specific is one kernel of several, unless nothing else was built.
  const bool all_specific =
      std::all_of(built.begin(), built.end(), [](const auto& one) { return one.specific; });
  for (const Architecture& one : built) {
    if (one.number > device || (one.specific && (!all_specific || one.number != device))) continue;
    const bool same_generation = one.number / 10 == device / 10;
    if (one.machine_code && same_generation && (!code || one.number > code->number)) code = &one;
    if (one.ptx && (!ptx || one.number > ptx->number)) ptx = &one;
  }
  return code != nullptr ? code : ptx;
}

}  // namespace

DeviceVerdict JudgeDevice(std::string_view architectures, int32_t compute_capability,
                          bool compute_prohibited) {
  const std::string has = "compute capability " + Decimal(compute_capability);
  if (compute_capability < kOldest)
    return {false, has + "; the kernels need " + Decimal(kOldest) + " or more"};
  if (compute_prohibited)
    return {false, "its compute mode is Prohibited; nvidia-smi --compute-mode=0 allows it"};
  const std::vector<Architecture> built = ParseList(architectures);
  const Architecture* best = BestFor(built, compute_capability);
  if (best == nullptr)
    return {false, has + "; this library was built for " + DescribeArchitectures(architectures)};
  const bool runs_as_it_is = best->machine_code && best->number / 10 == compute_capability / 10;
  std::string reason = has + ", " + (runs_as_it_is ? Name(*best) : "PTX " + Decimal(best->number));
  for (const Architecture& one : built) {
    if (one.specific && one.number == compute_capability && &one != best)
      reason += " and " + Name(one);
  }
  return {true, reason};
}

int32_t CodeCapability(std::string_view architectures, int32_t compute_capability) {
  const std::vector<Architecture> built = ParseList(architectures);
  const Architecture* best = BestFor(built, compute_capability);
  return best != nullptr ? best->number : 0;
}

std::string DescribeArchitectures(std::string_view architectures) {
  std::string code, ptx;
  for (const Architecture& one : ParseList(architectures)) {
    if (one.machine_code) code += (code.empty() ? "" : ", ") + Name(one);
    if (one.ptx) ptx += (ptx.empty() ? "PTX " : ", ") + Decimal(one.number);
  }
  return code + (code.empty() || ptx.empty() ? "" : "; ") + ptx;
}

std::string WhyNoDriver(int32_t driver_version, int32_t needed_version) {
  if (driver_version == 0) return "no NVIDIA driver is installed";
  return "the NVIDIA driver is too old: it has CUDA " + CudaVersionText(driver_version) +
         ", and CUDA " + CudaVersionText(needed_version / 1000 * 1000) + " or newer is needed";
}

std::string CudaVersionText(int32_t version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace octavo::cuda
