// What `octavo diff` prints, for people and as JSON.
#pragma once

#include <optional>
#include <string>

#include "octavo/diff.h"
#include "octavo/reader.h"
#include "tools/json.h"

namespace octavo::tools {

std::string DiffText(const format::Reader& a, const format::Reader& b,
                     const quant::DiffReport& report);
Json DiffJson(const format::Reader& a, const format::Reader& b, const quant::DiffReport& report);

// The signal-to-noise ratio that a relative error is; nothing for none.
std::optional<double> SnrDb(const std::optional<double>& relative_error);

}  // namespace octavo::tools
