// "Did you mean …?" for module and tensor names.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace octavo {

// Up to three of `names` that somebody who typed `wanted` may have meant, best first, as ` (near:
// "a", "b")`; "" if none is near. Near: whole dotted components at either end in common with the
// other being the rest, or few letters apart.
std::string NearNames(std::string_view wanted, std::span<const std::string* const> names);

}  // namespace octavo
