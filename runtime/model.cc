#include "octavo/model.h"

#include <utility>
#include <vector>

#include "octavo/linear.h"
#include "runtime/near_names.h"

namespace octavo {
namespace {

template <typename Items>
std::vector<const std::string*> NamesOf(const Items& items) {
  std::vector<const std::string*> names;
  for (const auto& item : items) names.push_back(&item.name);
  return names;
}

template <typename Items>
Status NoSuch(const format::Reader& reader, const char* what, std::string_view name,
              const Items& items) {
  return {ErrorCode::kNotFound, reader.path() + ": no " + what + " \"" + std::string(name) + "\"" +
                                    NearNames(name, NamesOf(items))};
}

}  // namespace

Model::Model(std::shared_ptr<const format::Reader> reader) : reader_(std::move(reader)) {}

Result<Model> Model::Open(const std::string& path, const ModelOptions& options) {
  if (options.num_threads < 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "num_threads is " + std::to_string(options.num_threads) + "; expected 0 or more");
  }
  OCTAVO_ASSIGN_OR_RETURN(format::Reader reader,
                          format::Reader::Open(path, {options.verify, options.num_threads}));
  return Model(std::make_shared<const format::Reader>(std::move(reader)));
}

const format::Manifest& Model::manifest() const { return reader_->manifest(); }
const format::Reader& Model::reader() const { return *reader_; }

Result<Linear> Model::linear(std::string_view name, int64_t expert) const {
  const format::Module* module = reader_->FindModule(name);
  if (module == nullptr) return NoSuch(*reader_, "module", name, manifest().modules);
  const std::string subject = reader_->path() + ": module \"" + module->name + "\"";
  if (!module->quantized || !module->scheme) {
    return Status(ErrorCode::kInvalidArgument, subject + " is not quantized: " + module->reason);
  }
  const uint64_t matrices = module->kind == format::ModuleKind::kExperts ? module->experts : 1;
  if (expert < 0 || static_cast<uint64_t>(expert) >= matrices) {
    return Status(ErrorCode::kInvalidArgument, subject + " has " + std::to_string(matrices) +
                                                   (matrices == 1 ? " matrix" : " matrices") +
                                                   "; there is no expert " +
                                                   std::to_string(expert));
  }
  return Linear(*this, module, expert);
}

Result<std::span<const std::byte>> Model::tensor(std::string_view name) const {
  const format::TensorEntry* entry = reader_->FindTensor(name);
  if (entry == nullptr) return NoSuch(*reader_, "tensor", name, manifest().tensors);
  if (entry->codec != format::Codec::kNone) {
    return Status(ErrorCode::kInvalidArgument,
                  reader_->path() + ": tensor \"" + entry->name + "\" is compressed (" +
                      std::string(format::Name(entry->codec)) +
                      ") and cannot be mapped; read it with format::Reader::ReadAll or "
                      "octavo_model_read_tensor");
  }
  return reader_->Bytes(*entry);
}

Result<std::string> Model::asset(std::string_view name) const {
  const format::TensorEntry* entry = reader_->FindAsset(name);
  if (entry == nullptr) return NoSuch(*reader_, "embedded file", name, manifest().assets);
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::byte> content, reader_->ReadAll(*entry));
  return std::string(reinterpret_cast<const char*>(content.data()), content.size());
}

}  // namespace octavo
