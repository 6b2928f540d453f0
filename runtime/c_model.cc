// octavo.h: versions, models and this machine.
#include <cstring>
#include <vector>

#include "runtime/c_error.h"
#include "runtime/c_objects.h"
#include "runtime/c_options.h"

using octavo::Status;
using octavo::c_api::Guard;
using octavo::c_api::Invalid;
using octavo::c_api::NotNull;
using octavo::c_api::ReadOptions;

namespace {

const std::vector<octavo::BackendInfo>& Backends() {
  static const std::vector<octavo::BackendInfo> backends = octavo::ListBackends();
  return backends;
}

}  // namespace

int32_t octavo_abi_version(void) { return OCTAVO_ABI_VERSION; }
const char* octavo_version(void) { return OCTAVO_VERSION; }

// ---- Models ----

octavo_status octavo_model_open(const char* path, const octavo_open_options* options,
                                octavo_model** model) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(path, "path"));
    OCTAVO_RETURN_IF_ERROR(NotNull(model, "model"));
    *model = nullptr;
    OCTAVO_ASSIGN_OR_RETURN(const octavo_open_options known, ReadOptions(options));
    OCTAVO_ASSIGN_OR_RETURN(octavo::Model opened,
                            octavo::Model::Open(path, {known.verify != 0, known.num_threads}));
    *model = new octavo_model{std::move(opened)};
    return {};
  });
}

void octavo_model_retain(octavo_model* model) { octavo::c_api::Retain(model); }
void octavo_model_release(octavo_model* model) { octavo::c_api::Release(model); }

octavo_status octavo_model_manifest(const octavo_model* model, const char** json, size_t* bytes) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(model, "model"));
    OCTAVO_RETURN_IF_ERROR(NotNull(json, "json"));
    OCTAVO_RETURN_IF_ERROR(NotNull(bytes, "bytes"));
    const std::string_view text = model->model.reader().manifest_text();
    *json = text.data();
    *bytes = text.size();
    return {};
  });
}

octavo_status octavo_model_module_count(const octavo_model* model, int64_t* count) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(model, "model"));
    OCTAVO_RETURN_IF_ERROR(NotNull(count, "count"));
    *count = static_cast<int64_t>(model->model.manifest().modules.size());
    return {};
  });
}

octavo_status octavo_model_module(const octavo_model* model, int64_t index, const char** name,
                                  int32_t* quantized) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(model, "model"));
    OCTAVO_RETURN_IF_ERROR(NotNull(name, "name"));
    const auto& modules = model->model.manifest().modules;
    if (index < 0 || static_cast<size_t>(index) >= modules.size())
      return Invalid("module " + std::to_string(index) + " of " + std::to_string(modules.size()));
    const octavo::format::Module& module = modules[static_cast<size_t>(index)];
    *name = module.name.c_str();
    if (quantized != nullptr) *quantized = module.quantized ? 1 : 0;
    return {};
  });
}

octavo_status octavo_model_tensor(const octavo_model* model, const char* name, const void** data,
                                  size_t* bytes, octavo_dtype* dtype, int64_t* shape,
                                  int32_t* rank) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(model, "model"));
    OCTAVO_RETURN_IF_ERROR(NotNull(name, "name"));
    OCTAVO_RETURN_IF_ERROR(NotNull(data, "data"));
    OCTAVO_RETURN_IF_ERROR(NotNull(bytes, "bytes"));
    OCTAVO_ASSIGN_OR_RETURN(const std::span<const std::byte> payload, model->model.tensor(name));
    const octavo::format::TensorEntry& entry = *model->model.reader().FindTensor(name);
    *data = payload.data();
    *bytes = payload.size();
    if (dtype != nullptr) *dtype = static_cast<octavo_dtype>(entry.dtype);
    if (rank != nullptr) *rank = entry.shape.rank();
    for (int axis = 0; shape != nullptr && axis < entry.shape.rank(); ++axis)
      shape[axis] = static_cast<int64_t>(entry.shape[axis]);
    return {};
  });
}

octavo_status octavo_model_read_tensor(const octavo_model* model, const char* name, void* buffer,
                                       size_t* bytes) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(model, "model"));
    OCTAVO_RETURN_IF_ERROR(NotNull(name, "name"));
    OCTAVO_RETURN_IF_ERROR(NotNull(bytes, "bytes"));
    const octavo::format::Reader& reader = model->model.reader();
    const octavo::format::TensorEntry* entry = reader.FindTensor(name);
    if (entry == nullptr)
      return {octavo::ErrorCode::kNotFound, "there is no tensor \"" + std::string(name) + "\""};
    const size_t capacity = std::exchange(*bytes, entry->raw_bytes());
    if (buffer == nullptr) return {};
    if (capacity < *bytes)
      return Invalid("\"" + std::string(name) + "\" has " + std::to_string(*bytes) +
                     " bytes, the buffer " + std::to_string(capacity));
    return reader.ReadRows(*entry, 0, *entry->shape.NumRows(),
                           {static_cast<std::byte*>(buffer), *bytes});
  });
}

octavo_status octavo_model_asset(const octavo_model* model, const char* name, void* buffer,
                                 size_t* bytes) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(model, "model"));
    OCTAVO_RETURN_IF_ERROR(NotNull(name, "name"));
    OCTAVO_RETURN_IF_ERROR(NotNull(bytes, "bytes"));
    if (const auto* entry = model->model.reader().FindAsset(name); entry && buffer == nullptr) {
      *bytes = entry->raw_bytes();
      return {};
    }
    OCTAVO_ASSIGN_OR_RETURN(const std::string content, model->model.asset(name));
    const size_t capacity = std::exchange(*bytes, content.size());
    if (capacity < content.size())
      return Invalid("\"" + std::string(name) + "\" has " + std::to_string(content.size()) +
                     " bytes, the buffer " + std::to_string(capacity));
    std::memcpy(buffer, content.data(), content.size());
    return {};
  });
}

// ---- This machine ----

octavo_status octavo_backend_count(int64_t* count) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(count, "count"));
    *count = static_cast<int64_t>(Backends().size());
    return {};
  });
}

octavo_status octavo_backend(int64_t index, const char** name, int32_t* usable, int32_t* selected,
                             const char** reason) {
  return Guard([&]() -> Status {
    const std::vector<octavo::BackendInfo>& backends = Backends();
    if (index < 0 || static_cast<size_t>(index) >= backends.size())
      return Invalid("backend " + std::to_string(index) + " of " + std::to_string(backends.size()));
    const octavo::BackendInfo& backend = backends[static_cast<size_t>(index)];
    if (name != nullptr) *name = backend.name.c_str();
    if (usable != nullptr) *usable = backend.usable ? 1 : 0;
    if (selected != nullptr) *selected = backend.selected ? 1 : 0;
    if (reason != nullptr) *reason = backend.reason.c_str();
    return {};
  });
}
