// What `octavo convert` says about a plan or a finished conversion.
#pragma once

#include <string>

#include "octavo/convert.h"
#include "tools/json.h"

namespace octavo::tools {

// Modules that differ only in numbers share a line, unless `explain` asks for every one.
std::string PlanText(const std::string& source, const quant::Plan& plan, bool explain);
Json PlanJson(const quant::Plan& plan);

std::string ReportText(const std::string& output, const quant::ConvertReport& report, bool explain);
Json ReportJson(const std::string& output, const quant::ConvertReport& report);

}  // namespace octavo::tools
