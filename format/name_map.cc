#include "format/name_map.h"

#include <bit>
#include <span>

#include "format/digest.h"

namespace octavo::format {
namespace {

uint32_t HashOf(std::string_view name) {
  const uint64_t hash = Xxh3(std::as_bytes(std::span(name)));
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

}  // namespace

void NameMap::Reserve(size_t count) {
  names_.reserve(count);
  if (2 * count > table_.size()) Rehash(std::bit_ceil(2 * count));
}

bool NameMap::Add(std::string_view name) {
  if (2 * (names_.size() + 1) > table_.size()) {
    Rehash(std::bit_ceil(4 * (names_.size() + 1)));
  }
  const uint32_t hash = HashOf(name);
  Entry& entry = table_[Locate(name, hash)];
  if (entry.number != kEmpty) return false;
  entry = {hash, static_cast<uint32_t>(names_.size())};
  names_.push_back(name);
  return true;
}

std::optional<size_t> NameMap::Find(std::string_view name) const {
  if (table_.empty()) return std::nullopt;
  const Entry& entry = table_[Locate(name, HashOf(name))];
  return entry.number == kEmpty ? std::nullopt : std::optional<size_t>(entry.number);
}

size_t NameMap::Locate(std::string_view name, uint32_t hash) const {
  const size_t mask = table_.size() - 1;
  size_t at = hash & mask;
  while (table_[at].number != kEmpty &&
         (table_[at].hash != hash || names_[table_[at].number] != name)) {
    at = (at + 1) & mask;
  }
  return at;
}

void NameMap::Rehash(size_t size) {
  const std::vector<Entry> old = std::move(table_);
  table_.assign(size, Entry());
  for (const Entry& entry : old) {
    if (entry.number == kEmpty) continue;
    size_t at = entry.hash & (size - 1);
    while (table_[at].number != kEmpty) at = (at + 1) & (size - 1);
    table_[at] = entry;
  }
}

}  // namespace octavo::format
