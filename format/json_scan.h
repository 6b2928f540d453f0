// JSON text as events, RFC 8259 to the letter: no extensions, no tree, no recursion, every byte
// looked at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace octavo::format {

// What the text says, in its order. Each function returns whether to go on.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual bool Null() = 0;
  virtual bool Bool(bool value) = 0;
  // Digits alone, below 2^64.
  virtual bool Count(uint64_t value) = 0;
  // Any other number, "-0" included; finite.
  virtual bool Number(double value) = 0;
  // Decoded, well-formed UTF-8; valid during the call.
  virtual bool String(std::string_view value) = 0;
  // As String, but valid until the scan ends.
  virtual bool Key(std::string_view key) = 0;
  virtual bool Begin(bool is_array) = 0;
  virtual bool End(bool is_array) = 0;
};

struct JsonScan {
  bool is_whole = false;    // the text is one value with nothing but white space around it, and no
                            // event said stop
  size_t malformed_at = 0;  // the byte, counted from 1, that no JSON has there (one beyond the text
                            // where it ends early); 0: not malformed as far as it was read
};

// Single thread for each call. Memory besides what the events keep: a bit for each level that is
// open, the longest string with an escape, and keys with escapes.
JsonScan ScanJson(std::string_view text, JsonEvents* events);

}  // namespace octavo::format
