// The views of `octavo inspect`.
#pragma once

#include <string>

#include "octavo/reader.h"
#include "tools/json.h"

namespace octavo::tools {

std::string SummaryText(const format::Reader& reader);
std::string ModulesText(const format::Reader& reader);
std::string TensorsText(const format::Reader& reader);
std::string ModuleText(const format::Reader& reader, const format::Module& module,
                       uint64_t kept_columns);
Json InspectJson(const format::Reader& reader);

}  // namespace octavo::tools
