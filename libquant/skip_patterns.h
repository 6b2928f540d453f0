// Modules that the user names to stay in 16 bit (PolicyOptions::skip_modules).
#pragma once

#include <span>
#include <string>

#include "octavo/policy.h"

namespace octavo::quant {

// Errors: kInvalidArgument (an empty component, or one that is a regular expression).
Status CheckPattern(const std::string& pattern);

// Keeps what the patterns match; one that names nothing is worth a warning.
void ApplySkipPatterns(std::span<const std::string> patterns, Policy* policy);

}  // namespace octavo::quant
