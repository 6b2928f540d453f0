#include "format/json_walk.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "format/quote.h"

namespace octavo::format {

// nlohmann's event interface: every event returns whether to go on, and nothing throws.
class JsonWalker::Events : public nlohmann::json_sax<nlohmann::json> {
 public:
  Events(JsonWalker* walker, size_t max_keys) : walker_(*walker), max_keys_(max_keys) {}
  const Status& status() const { return status_; }

  bool null() override { return Scalar({}); }
  bool boolean(bool) override { return Scalar(Of(Type::kBool)); }
  bool number_integer(int64_t) override { return Scalar(Of(Type::kNegative)); }
  bool number_unsigned(uint64_t value) override {
    JsonScalar scalar = Of(Type::kUnsigned);
    scalar.count = value;
    return Scalar(scalar);
  }
  bool number_float(double value, const std::string&) override {
    JsonScalar scalar = Of(Type::kFloat);
    scalar.number = value;
    return Scalar(scalar);
  }
  bool string(std::string& value) override {
    JsonScalar scalar = Of(Type::kString);
    scalar.text = value;
    return Scalar(scalar);
  }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // never in JSON text
  bool start_object(size_t) override { return Begin(false); }
  bool start_array(size_t) override { return Begin(true); }
  bool end_object() override { return End(); }
  bool end_array() override { return End(); }
  bool key(std::string& key) override {
    if (++num_keys_ > max_keys_) {
      return Fail("it has more than " + std::to_string(max_keys_) + " keys");
    }
    if (!walker_.open_keys_.back().insert(key).second) {
      return Fail("the key " + Quote(key) + " occurs twice in one object");
    }
    walker_.path_.back() = std::move(key);
    return true;
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail("not valid JSON at byte " + std::to_string(position));
  }

 private:
  using Type = JsonScalar::Type;
  static JsonScalar Of(Type type) {
    JsonScalar scalar;
    scalar.type = type;
    return scalar;
  }
  bool Fail(const std::string& what) { return Keep(Status(ErrorCode::kInvalidFile, what)); }
  bool Keep(Status status) {
    if (status_.ok()) status_ = std::move(status);
    return status_.ok();
  }
  bool Scalar(const JsonScalar& scalar) {
    if (walker_.path_.empty()) return Fail("it is not a JSON object");
    return Keep(walker_.OnScalar(scalar));
  }
  bool Begin(bool is_array) {
    if (is_array && walker_.path_.empty()) return Fail("it is not a JSON object");
    if (walker_.path_.size() == kMaxDepth) return Fail("its JSON is nested too deeply");
    if (!Keep(walker_.OnBegin(is_array))) return false;
    walker_.path_.emplace_back();
    walker_.open_keys_.emplace_back();
    return true;
  }
  bool End() {
    walker_.path_.pop_back();
    walker_.open_keys_.pop_back();
    return Keep(walker_.OnEnd());
  }

  JsonWalker& walker_;
  Status status_;
  size_t max_keys_;
  size_t num_keys_ = 0;
};

Status JsonWalker::Walk(std::string_view text, size_t max_keys) {
  // nlohmann takes a NUL for the end and would let anything follow it; and it skips a byte order
  // mark.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return Status(ErrorCode::kInvalidFile, "not valid JSON at byte " + std::to_string(nul + 1));
  }
  if (text.starts_with("\xEF\xBB\xBF")) {
    return Status(ErrorCode::kInvalidFile, "not valid JSON at byte 1: a byte order mark");
  }
  Events events(this, max_keys);
  nlohmann::json::sax_parse(text.begin(), text.end(), &events);
  return events.status();
}

Status JsonWalker::OnBegin(bool) { return {}; }
Status JsonWalker::OnEnd() { return {}; }
Status JsonWalker::OnScalar(const JsonScalar&) { return {}; }

}  // namespace octavo::format
