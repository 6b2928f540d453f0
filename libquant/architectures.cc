#include "libquant/architectures.h"

#include <algorithm>
#include <vector>

namespace octavo::quant {
namespace {

std::vector<ArchitectureFacts> Joined() {
  std::vector<ArchitectureFacts> all;
  for (const std::span<const ArchitectureFacts> part :
       {GptArchitectures(), LlamaArchitectures(), ExpertArchitectures(), EncoderArchitectures()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace

std::span<const ArchitectureFacts> KnownArchitectures() {
  static const std::vector<ArchitectureFacts> all = Joined();
  return all;
}

const ArchitectureFacts* FindArchitecture(std::string_view model_type) {
  for (const ArchitectureFacts& facts : KnownArchitectures()) {
    if (std::ranges::find(facts.model_types, model_type) != facts.model_types.end()) return &facts;
  }
  return nullptr;
}

}  // namespace octavo::quant
