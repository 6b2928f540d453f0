// Names from files in messages: in quotes, control characters made visible, cut where they are absurdly long.
#pragma once

#include <string>
#include <string_view>

namespace octavo::format {

std::string Quote(std::string_view name);

}  // namespace octavo::format
