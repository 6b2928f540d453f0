// What `octavo convert` says about a plan or a finished conversion.
#pragma once

#include <string>

#include "octavo/convert.h"
#include "tools/json.h"

namespace octavo::tools {

// Modules that differ only in numbers share a line; `explain` shows each, or in large models which
// numbers share it (Detail::kExplained).
std::string PlanText(const std::string& source, const quant::Plan& plan, bool explain);
Json PlanJson(const quant::Plan& plan);

std::string ReportText(const std::string& output, const quant::ConvertReport& report, bool explain);
Json ReportJson(const std::string& output, const quant::ConvertReport& report);

}  // namespace octavo::tools
