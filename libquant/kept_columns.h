// Which input features of which linears stay in 16 bit, chosen from a profile of the activations.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/policy.h"

namespace octavo::quant {

// Module name -> kept input features, ascending, never empty.
using KeptColumns = std::map<std::string, std::vector<int32_t>>;

// Reads the profile (form: kept_columns.cc) and picks. Without a budget all features of the profile
// are kept; with one, those with the largest |x| over the whole model, as long as they are at most
// that share of the linears' multiplications. Errors: kInvalidArgument (malformed, unknown module,
// index out of range or twice, in_features that differ).
Result<KeptColumns> ChooseKeptColumns(std::string_view profile_json, std::optional<double> budget,
                                      const std::vector<Decision>& decisions,
                                      std::vector<std::string>* warnings);

}  // namespace octavo::quant
