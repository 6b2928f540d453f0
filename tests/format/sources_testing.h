// What the tests of model sources share: safetensors bytes made by hand, and expectations about
// errors.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "octavo/result.h"

namespace octavo::testing {

// A safetensors file with this header and `data_bytes` bytes 0, 1, 2, … of data.
inline std::string SafetensorsBytes(std::string_view header, size_t data_bytes) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(uint64_t{header.size()} >> (8 * i) & 0xFF);
  bytes += header;
  for (size_t i = 0; i < data_bytes; ++i) bytes += static_cast<char>(i & 0xFF);
  return bytes;
}

// One U8 tensor for each name, `bytes` long.
inline std::string SafetensorsWith(std::initializer_list<std::string_view> names,
                                   size_t bytes = 1) {
  std::string header;
  size_t offset = 0;
  for (const std::string_view name : names) {
    header += (header.empty() ? "{\"" : ",\"") + std::string(name) +
              "\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(bytes) + "],\"data_offsets\":[" +
              std::to_string(offset) + "," + std::to_string(offset + bytes) + "]}";
    offset += bytes;
  }
  return SafetensorsBytes(header + "}", offset);
}

// Expects this error, with `part` in its message.
inline void ExpectError(const Status& status, ErrorCode code, std::string_view part) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos)
      << "expected: " << part << "\n   found: " << status.message();
}

}  // namespace octavo::testing
