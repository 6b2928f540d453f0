#include "format/json_events.h"

#include <memory>
#include <unordered_set>
#include <utility>

#include "format/json_scan.h"
#include "format/quote.h"

namespace octavo::format::json {
namespace {

constexpr uint64_t kMaxCount = (uint64_t{1} << 63) - 1;  // R14
constexpr std::string_view kExpected[] = {
    "anything", "a string", "true or false", "a count",   "a number",           "a number or null",
    "an array", "an array", "a string",      "an object", "an array of objects"};

// One object or array that is open.
struct Frame {
  Slot slot;                // what it is bound to
  uint64_t present = 0;     // objects: fields seen
  size_t next_field = 0;    // objects: behind the last one; writers keep the order
  size_t num_elements = 0;  // arrays
  std::string_view key;     // objects: the last one
  std::unique_ptr<std::unordered_set<std::string_view>> other_keys;
  bool is_array = false;
};

class Binder : public JsonEvents {
 public:
  Binder(const Slot& root, const Options& options) : next_(root), options_(options) {
    frames_.reserve(static_cast<size_t>(options.max_depth));
  }
  const Status& status() const { return status_; }

  bool Null() override;
  bool Bool(bool value) override;
  bool Count(uint64_t value) override;
  bool Number(double value) override;
  bool String(std::string_view value) override;
  bool Key(std::string_view key) override;
  bool Begin(bool is_array) override;
  bool End(bool is_array) override { return is_array ? EndArray() : EndObject(); }

 private:
  using Kind = Slot::Kind;

  // The slot of the value that begins now. Within an array this makes room for it.
  bool NextSlot(Slot* slot);
  bool BindKey(Frame& frame, std::string_view key);
  bool EndObject();
  bool EndArray();
  std::string Where() const;
  bool FailText(const std::string& message, std::string_view rule);
  bool Fail(const std::string& message, std::string_view rule) {
    return FailText(Where() + ": " + message, rule);
  }
  bool WrongType(const Slot& slot, const std::string& found) {
    return Fail(
        "expected " + std::string(kExpected[static_cast<size_t>(slot.kind)]) + ", found " + found,
        "R13");
  }
  bool Take(const Status& status) {
    if (!status.ok()) status_ = status;
    return status.ok();
  }
  bool PutNumber(const Slot& slot, double value);

  Slot next_;
  Options options_;
  std::vector<Frame> frames_;
  Status status_;
};

// The innermost name that is known and the path from there: `tensor "x": stored[3]`.
std::string Binder::Where() const {
  std::string where;
  for (const Frame& frame : frames_) {
    if (frame.is_array) {
      where += "[" + std::to_string(frame.num_elements == 0 ? 0 : frame.num_elements - 1) + "]";
      continue;
    }
    if (frame.slot.kind == Kind::kObject && frame.slot.table != nullptr) {
      const Table& table = *frame.slot.table;
      for (size_t i = 0; i < table.fields.size(); ++i) {
        if (table.fields[i].key != "name" || !(frame.present >> i & 1)) continue;
        const Slot name = table.fields[i].slot(frame.slot.target);
        if (name.kind != Kind::kString || frame.key == "name") continue;
        where =
            std::string(table.noun) + " " + Quote(*static_cast<std::string*>(name.target)) + ": ";
      }
    }
    if (frame.key.empty()) continue;
    if (!where.empty() && where.back() != ' ') where += ".";
    const std::string key = Quote(frame.key);  // without its quotes, only to make it printable
    where += frame.key.size() > 80 ? "…" : key.substr(1, key.size() - 2);
  }
  return where.empty() ? "the JSON text" : where;
}

bool Binder::FailText(const std::string& message, std::string_view rule) {
  const std::string suffix = options_.name_rules ? " (" + std::string(rule) + ")" : "";
  status_ = Status(ErrorCode::kInvalidFile, message + suffix);
  return false;
}

bool Binder::NextSlot(Slot* slot) {
  *slot = next_;
  if (frames_.empty() || !frames_.back().is_array) return true;
  Frame& frame = frames_.back();
  ++frame.num_elements;
  const Slot& list = frame.slot;
  *slot = Slot{};
  if (list.kind == Kind::kStrings) {
    *slot = SlotFor(&static_cast<std::vector<std::string>*>(list.target)->emplace_back());
  } else if (list.kind == Kind::kCounts) {
    *slot = SlotFor(&static_cast<std::vector<uint64_t>*>(list.target)->emplace_back());
  } else if (list.kind == Kind::kText) {
    *slot = list;
    slot->is_list = false;
  } else if (list.kind == Kind::kObjects) {
    *slot = Slot::Object(list.begin(list.target), list.table);
  }
  return true;
}

bool IsArrayKind(const Slot& slot) {
  using Kind = Slot::Kind;
  return slot.kind == Kind::kStrings || slot.kind == Kind::kCounts || slot.kind == Kind::kObjects ||
         (slot.kind == Kind::kText && slot.is_list);
}

bool Binder::Begin(bool is_array) {
  Slot slot;
  if (!NextSlot(&slot)) return false;
  if (frames_.size() >= static_cast<size_t>(options_.max_depth)) {
    return Fail("nested more than " + std::to_string(options_.max_depth) + " deep", "R11");
  }
  if (slot.kind != Kind::kIgnore) {
    if (is_array && !IsArrayKind(slot)) return WrongType(slot, "an array");
    if (!is_array && slot.kind != Kind::kObject) return WrongType(slot, "an object");
  }
  Frame frame;
  frame.slot = slot;
  frame.is_array = is_array;
  frames_.push_back(std::move(frame));
  return true;
}

// The field of that name, or the number of fields.
size_t FindField(std::span<const Field> fields, size_t likely, std::string_view key) {
  if (likely < fields.size() && fields[likely].key == key) return likely;
  size_t i = 0;
  while (i < fields.size() && fields[i].key != key) ++i;
  return i;
}

bool Binder::BindKey(Frame& frame, std::string_view key) {
  next_ = Slot{};
  if (frame.slot.kind == Kind::kObject) {
    const std::span<const Field> fields = frame.slot.table->fields;
    if (const size_t i = FindField(fields, frame.next_field, key); i < fields.size()) {
      if (frame.present >> i & 1) return Fail("the key stands twice in one object", "R12");
      frame.present |= uint64_t{1} << i;
      frame.next_field = i + 1;
      next_ = fields[i].slot(frame.slot.target);
      return true;
    }
  }
  if (frame.other_keys == nullptr) {
    frame.other_keys = std::make_unique<std::unordered_set<std::string_view>>();
  }
  if (!frame.other_keys->insert(key).second) {
    return Fail("the key stands twice in one object", "R12");
  }
  if (frame.slot.kind == Kind::kObject && frame.slot.table->other != nullptr) {
    next_ = frame.slot.table->other(frame.slot.target, std::string(key));
  }
  return true;
}

bool Binder::Key(std::string_view key) {
  Frame& frame = frames_.back();
  frame.key = key;
  if (key.size() > options_.max_string_bytes) return Fail("the key is too long", "section 10");
  return BindKey(frame, key);
}

bool Binder::EndObject() {
  Frame& frame = frames_.back();
  frame.key = {};
  if (frame.slot.kind == Kind::kObject) {
    const Table& table = *frame.slot.table;
    for (size_t i = 0; i < table.fields.size(); ++i) {
      if (table.fields[i].presence == kRequired && !(frame.present >> i & 1)) {
        return Fail("there is no \"" + std::string(table.fields[i].key) + "\"", "R13");
      }
    }
  }
  frames_.pop_back();
  if (frames_.empty()) return true;
  const Frame& parent = frames_.back();
  if (parent.is_array && parent.slot.kind == Kind::kObjects && parent.slot.end != nullptr) {
    return Take(parent.slot.end(parent.slot.target));
  }
  return true;
}

bool Binder::EndArray() {
  frames_.pop_back();
  return true;
}

bool Binder::Null() {
  Slot slot;
  if (!NextSlot(&slot)) return false;
  if (slot.kind == Kind::kIgnore) return true;
  if (slot.kind != Kind::kNullableNumber) return WrongType(slot, "null");
  static_cast<std::optional<double>*>(slot.target)->reset();
  return true;
}

bool Binder::Bool(bool value) {
  Slot slot;
  if (!NextSlot(&slot)) return false;
  if (slot.kind == Kind::kIgnore) return true;
  if (slot.kind != Kind::kBool) return WrongType(slot, "true or false");
  *static_cast<bool*>(slot.target) = value;
  return true;
}

bool Binder::PutNumber(const Slot& slot, double value) {
  if (slot.kind == Kind::kIgnore) return true;
  if (slot.kind == Kind::kNumber) {
    *static_cast<double*>(slot.target) = value;
  } else if (slot.kind == Kind::kNullableNumber) {
    *static_cast<std::optional<double>*>(slot.target) = value;
  } else if (slot.kind == Kind::kCount) {
    return Fail("not an integer from 0 to 2^63 - 1 without sign, fraction and exponent", "R14");
  } else {
    return WrongType(slot, "a number");
  }
  return true;
}

bool Binder::Count(uint64_t value) {
  Slot slot;
  if (!NextSlot(&slot)) return false;
  if (slot.kind == Kind::kCount && value <= kMaxCount) {
    *static_cast<uint64_t*>(slot.target) = value;
    return true;
  }
  return PutNumber(slot, static_cast<double>(value));
}

// Also "-0", which is no count (R14).
bool Binder::Number(double value) {
  Slot slot;
  return NextSlot(&slot) && PutNumber(slot, value);
}

bool Binder::String(std::string_view value) {
  Slot slot;
  if (!NextSlot(&slot)) return false;
  if (slot.kind == Kind::kIgnore) return true;
  const bool is_string = slot.kind == Kind::kString || (slot.kind == Kind::kText && !slot.is_list);
  if (!is_string) return WrongType(slot, "a string");
  if (value.size() > options_.max_string_bytes) {
    return Fail("a string of " + std::to_string(value.size()) + " bytes; at most " +
                    std::to_string(options_.max_string_bytes) + " are allowed",
                "section 10");
  }
  if (slot.kind == Kind::kText) return Take(slot.text(slot.target, value));
  *static_cast<std::string*>(slot.target) = value;
  return true;
}

}  // namespace

Status Parse(std::string_view text, const Slot& root, const Options& options) {
  const std::string rule = options.name_rules ? " (R11)" : "";
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return Status(ErrorCode::kInvalidFile,
                  "the JSON text has a zero byte at " + std::to_string(zero) + rule);
  }
  if (text.starts_with("\xef\xbb\xbf")) {
    return Status(ErrorCode::kInvalidFile, "the JSON text has a byte order mark" + rule);
  }
  Binder binder(root, options);
  const JsonScan scan = ScanJson(text, &binder);
  if (scan.malformed_at == 0) return binder.status();
  return Status(ErrorCode::kInvalidFile,
                "the JSON text is malformed at byte " + std::to_string(scan.malformed_at) + rule);
}

}  // namespace octavo::format::json
