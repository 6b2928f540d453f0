#include "format/json_walk.h"

#include <utility>

#include "format/json_scan.h"
#include "format/quote.h"

namespace octavo::format {

class JsonWalker::Events : public JsonEvents {
 public:
  Events(JsonWalker* walker, size_t max_keys) : walker_(*walker), max_keys_(max_keys) {}
  const Status& status() const { return status_; }

  bool Null() override { return Scalar({}); }
  bool Bool(bool) override { return Scalar(Of(Type::kBool)); }
  bool Count(uint64_t value) override {
    JsonScalar scalar = Of(Type::kCount);
    scalar.count = value;
    return Scalar(scalar);
  }
  bool Number(double value) override {
    JsonScalar scalar = Of(Type::kNumber);
    scalar.number = value;
    return Scalar(scalar);
  }
  bool String(std::string_view value) override {
    JsonScalar scalar = Of(Type::kString);
    scalar.text = value;
    return Scalar(scalar);
  }
  bool Key(std::string_view key) override {
    if (++num_keys_ > max_keys_) {
      return Fail("it has more than " + std::to_string(max_keys_) + " keys");
    }
    if (!walker_.open_keys_.back().insert(key).second) {
      return Fail("the key " + Quote(key) + " occurs twice in one object");
    }
    walker_.path_.back() = key;
    return true;
  }
  bool Begin(bool is_array) override {
    if (is_array && walker_.path_.empty()) return Fail("it is not a JSON object");
    if (walker_.path_.size() == kMaxDepth) return Fail("its JSON is nested too deeply");
    if (!Keep(walker_.OnBegin(is_array))) return false;
    walker_.path_.emplace_back();
    walker_.open_keys_.emplace_back();
    return true;
  }
  bool End(bool) override {
    walker_.path_.pop_back();
    walker_.open_keys_.pop_back();
    return Keep(walker_.OnEnd());
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
  JsonWalker& walker_;
  Status status_;
  size_t max_keys_;
  size_t num_keys_ = 0;
};

Status JsonWalker::Walk(std::string_view text, size_t max_keys) {
  if (text.starts_with("\xEF\xBB\xBF")) {
    return Status(ErrorCode::kInvalidFile, "not valid JSON at byte 1: a byte order mark");
  }
  Events events(this, max_keys);
  const JsonScan scan = ScanJson(text, &events);
  if (scan.malformed_at == 0) return events.status();
  return Status(ErrorCode::kInvalidFile,
                "not valid JSON at byte " + std::to_string(scan.malformed_at));
}

Status JsonWalker::OnBegin(bool) { return {}; }
Status JsonWalker::OnEnd() { return {}; }
Status JsonWalker::OnScalar(const JsonScalar&) { return {}; }

}  // namespace octavo::format
