// JSON text into plain structs, event by event: no tree of values is built, so memory follows what
// is kept, and text from a stranger can be refused early (depth, duplicate keys, wrong types, long
// strings).
//
// What a type looks like in JSON is a table of fields:
//
//   struct Point { uint64_t x = 0; std::string label; };
//   constexpr json::Field kFields[] = {json::Member<&Point::x>("x", json::kRequired),
//                                      json::Member<&Point::label>("label", json::kOptional)};
//   constexpr json::Table kPoint = {"point", kFields};
//   Point point;
//   Status status = json::Parse(text, json::Slot::Object(&point, &kPoint), {});
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/result.h"

namespace octavo::format::json {

struct Table;

// Where the next value goes and what it must be. Cheap to copy; owns nothing.
struct Slot {
  enum class Kind {
    kIgnore,          // any value, nested ones too
    kString,          // std::string
    kBool,            // bool
    kCount,           // uint64_t below 2^63
    kNumber,          // double
    kNullableNumber,  // std::optional<double>; null gives nothing
    kStrings,         // std::vector<std::string>
    kCounts,          // std::vector<uint64_t>
    kText,            // a string handed to `text`, as an element of a list if is_list
    kObject,          // an object by `table`
    kObjects,         // an array of objects by `table`: each into what `begin` returns; then `end`
  };
  using TextFunction = Status (*)(void* target, std::string_view text);
  using BeginFunction = void* (*)(void* target);
  using EndFunction = Status (*)(void* target);

  Kind kind = Kind::kIgnore;
  bool is_list = false;
  void* target = nullptr;
  const Table* table = nullptr;
  TextFunction text = nullptr;
  BeginFunction begin = nullptr;
  EndFunction end = nullptr;

  static Slot Object(void* target, const Table* table) {
    return {.kind = Kind::kObject, .target = target, .table = table};
  }
  static Slot Objects(void* target, const Table* table, BeginFunction begin, EndFunction end) {
    return {.kind = Kind::kObjects, .target = target, .table = table, .begin = begin, .end = end};
  }
  static Slot Text(void* target, TextFunction text) {
    return {.kind = Kind::kText, .target = target, .text = text};
  }
  static Slot Texts(void* target, TextFunction text) {
    return {.kind = Kind::kText, .is_list = true, .target = target, .text = text};
  }
};

inline Slot SlotFor(std::string* target) { return {.kind = Slot::Kind::kString, .target = target}; }
inline Slot SlotFor(bool* target) { return {.kind = Slot::Kind::kBool, .target = target}; }
inline Slot SlotFor(uint64_t* target) { return {.kind = Slot::Kind::kCount, .target = target}; }
inline Slot SlotFor(double* target) { return {.kind = Slot::Kind::kNumber, .target = target}; }
inline Slot SlotFor(std::optional<double>* target) {
  return {.kind = Slot::Kind::kNullableNumber, .target = target};
}
inline Slot SlotFor(std::vector<std::string>* target) {
  return {.kind = Slot::Kind::kStrings, .target = target};
}
inline Slot SlotFor(std::vector<uint64_t>* target) {
  return {.kind = Slot::Kind::kCounts, .target = target};
}

// A value that tells whether the key was there. (An optional double is a number or null, above.)
template <typename T>
Slot SlotFor(std::optional<T>* target) {
  return SlotFor(&target->emplace());
}

enum Presence { kOptional, kRequired };

struct Field {
  std::string_view key;
  Presence presence;
  Slot (*slot)(void* object);
};

namespace internal {
template <class Class, class T>
Class ClassOf(T Class::*);
template <auto kMember>
Slot MemberSlot(void* object) {
  using Class = decltype(ClassOf(kMember));
  return SlotFor(&(static_cast<Class*>(object)->*kMember));
}
}  // namespace internal

// A field that is a member with a SlotFor above.
template <auto kMember>
constexpr Field Member(std::string_view key, Presence presence) {
  return {key, presence, internal::MemberSlot<kMember>};
}

// What an object looks like. At most 64 fields. A string field "name" names the object in messages.
struct Table {
  std::string_view noun;  // for messages: "tensor"
  std::span<const Field> fields;
  // For keys without a field (maps); null: their values are ignored.
  Slot (*other)(void* object, const std::string& key) = nullptr;
};

namespace internal {
template <typename T>
void* Place(T* target) {
  return target;
}
template <typename T>
void* Place(std::optional<T>* target) {
  return &target->emplace();
}
template <auto kMember, const Table& kTable>
Slot NestedSlot(void* object) {
  using Class = decltype(ClassOf(kMember));
  return Slot::Object(Place(&(static_cast<Class*>(object)->*kMember)), &kTable);
}
}  // namespace internal

// A field that is an object: a member that is a struct, or an optional one.
template <auto kMember, const Table& kTable>
constexpr Field Nested(std::string_view key, Presence presence) {
  return {key, presence, internal::NestedSlot<kMember, kTable>};
}

namespace internal {
template <typename T>
void* AppendTo(void* list) {
  return &static_cast<std::vector<T>*>(list)->emplace_back();
}
template <typename T>
Slot AppendSlot(std::vector<T>* list, const Table* table) {
  return Slot::Objects(list, table, AppendTo<T>, nullptr);
}
template <typename T>
Slot AppendSlot(std::optional<T>* list, const Table* table) {
  return AppendSlot(&list->emplace(), table);
}
template <auto kMember, const Table& kTable>
Slot AppendedSlot(void* object) {
  using Class = decltype(ClassOf(kMember));
  return AppendSlot(&(static_cast<Class*>(object)->*kMember), &kTable);
}
}  // namespace internal

// A field that is an array of objects: a member that is a vector of structs, or an optional one.
template <auto kMember, const Table& kTable>
constexpr Field Appended(std::string_view key, Presence presence) {
  return {key, presence, internal::AppendedSlot<kMember, kTable>};
}

struct Options {
  int max_depth = 16;
  size_t max_string_bytes = 65'536;
  bool name_rules = false;  // put the rule of docs/format.md (R11 to R14) into messages
};

// Parses one object, which white space may surround, into `root`, an object's slot. Errors:
// kInvalidFile.
Status Parse(std::string_view text, const Slot& root, const Options& options);

}  // namespace octavo::format::json
