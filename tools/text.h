// Text for people: formatting, units, and the only places that write to the standard streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "octavo/result.h"

namespace octavo::tools {

// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string Format(const char* format, ...);

// Control characters, invisible direction marks and broken UTF-8 as \n, \x1b, \u202e: a name from a
// file must not be able to move the cursor or hide what it says.
std::string Escaped(std::string_view text);

std::string FormatBytes(uint64_t bytes);    // "912 B", "12.9 MB", "4.70 GB": decimal units
std::string FormatCount(uint64_t count);    // "5,898,240"
std::string FormatSeconds(double seconds);  // "0.41 ms", "3.2 s", "4 min 10 s"
std::string FormatNumber(double value);     // as short as its float32 value reads back: "6", "0.1"
std::string FormatShare(uint64_t part, uint64_t whole);  // "59.6 %"

// "1 module", "2 modules".
std::string Plural(uint64_t count, std::string_view noun);

// Bytes from "5GB", "1.5 GiB", "4096": B, KB, MB, GB, TB are powers of 1000, KiB … TiB of 1024.
// Errors: kInvalidArgument.
Result<uint64_t> ParseByteSize(std::string_view text);

// Writes to standard output. A reader that went away (EPIPE) is no error; FlushStdout reports
// others.
void Print(std::string_view text);
Status FlushStdout();

// "octavo: <sentence>\n" to standard error, escaped.
void PrintError(std::string_view sentence);
void PrintWarning(std::string_view sentence);

}  // namespace octavo::tools
