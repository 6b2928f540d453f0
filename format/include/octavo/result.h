// Errors as values. No library of Octavo throws across its border, prints, or exits: a function that can
// fail returns Status or Result<T>, and the message names the file, the tensor and the broken rule.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace octavo {

// One code is one reaction of the caller. The command line's exit codes are in brackets.
enum class ErrorCode {
  kOk = 0,
  kInvalidArgument,  // the caller asked for something that cannot be: mend the call [2]
  kNotFound,         // a file, module, tensor or asset of that name does not exist [1]
  kAlreadyExists,    // the output is there already and overwriting was not asked for [1]
  kIo,               // the operating system refused: disk full, permission, device error [1]
  kRefused,          // the input is readable, but its content must not be converted: NaN weights and the like [1]
  kLimit,            // a documented limit of this library or machine [1]
  kUnsupported,      // this build or machine cannot do it: an absent device, a missing instruction set [1]
  kCancelled,        // the caller's callback or a signal asked to stop [1]
  kInvalidFile,      // the bytes break a rule of their format [3]
  kNotIntact,        // the bytes are well formed but differ from their checksum or their source [3]
  kNewerFormat,      // an unknown version or required feature bit: a newer release reads it [3]
};

// An error code and one sentence for a person; success carries no message.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == ErrorCode::kOk; }
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // Puts "prefix: " before the message. Context is added once, at the entry that knows the path or the tensor.
  Status WithContext(const std::string& prefix) const {
    return ok() ? *this : Status(code_, prefix + ": " + message_);
  }

 private:
  ErrorCode code_ = ErrorCode::kOk;
  std::string message_;
};

// A value or the Status that says why there is none.
// Requires: status() of a Result without a value is never ok; value() only where ok().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : content_(std::in_place_index<1>, std::move(value)) {}        // NOLINT(google-explicit-constructor)
  Result(Status status) : content_(std::in_place_index<0>, std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return content_.index() == 1; }
  Status status() const { return ok() ? Status() : std::get<0>(content_); }
  ErrorCode code() const { return ok() ? ErrorCode::kOk : std::get<0>(content_).code(); }

  T& value() & { return std::get<1>(content_); }
  const T& value() const& { return std::get<1>(content_); }
  T&& value() && { return std::get<1>(std::move(content_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> content_;
};

}  // namespace octavo

#define OCTAVO_CONCAT_INNER(a, b) a##b
#define OCTAVO_CONCAT(a, b) OCTAVO_CONCAT_INNER(a, b)

// Returns from the enclosing function if `expression`, a Status, is an error.
#define OCTAVO_RETURN_IF_ERROR(expression)                       \
  do {                                                           \
    if (::octavo::Status octavo_returned = (expression); !octavo_returned.ok()) return octavo_returned; \
  } while (false)

// `OCTAVO_ASSIGN_OR_RETURN(auto x, F())`: x = the value of F(), or the enclosing function returns its Status.
#define OCTAVO_ASSIGN_OR_RETURN(declaration, expression)                          \
  auto OCTAVO_CONCAT(octavo_result_, __LINE__) = (expression);                    \
  if (!OCTAVO_CONCAT(octavo_result_, __LINE__).ok())                              \
    return OCTAVO_CONCAT(octavo_result_, __LINE__).status();                      \
  declaration = std::move(OCTAVO_CONCAT(octavo_result_, __LINE__)).value()
