// Checks on the place of the output, before anything is written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/checkpoint.h"
#include "octavo/result.h"

namespace octavo::quant {

// Which of the paths is the output, under any name; null: none.
const std::string* FindSameFile(const std::string& output, const std::vector<std::string>& paths);
// The output must be none of the source's files, under any name. Errors: kInvalidArgument.
Status CheckNotSource(const format::Checkpoint& source, const std::string& output);
// The output's folder must have room. Errors: kIo, with both numbers.
Status CheckDiskSpace(const std::string& output, uint64_t bytes);

// Whether so many bytes in the page cache would crowd out what other programs have there.
bool IsLargeBesideMemory(uint64_t bytes);

}  // namespace octavo::quant
