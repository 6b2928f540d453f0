#include "runtime/cuda_library.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <vector>

#include "octavo/device.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "liboctavo_cuda.so";

// The program or shared library that this function was linked into; "" if the system does not say.
fs::path OwnImage() {
  Dl_info info = {};
  void* extra = nullptr;
  const auto* here = reinterpret_cast<const void*>(&OwnImage);
  if (dladdr1(here, &info, &extra, RTLD_DL_LINKMAP) == 0) return {};
  const char* name = static_cast<const link_map*>(extra)->l_name;
  std::error_code error;
  // The program itself has no name there.
  const fs::path image = fs::canonical(*name == '\0' ? "/proc/self/exe" : name, error);
  return error ? fs::path() : image;
}

// Where a build or an installation has the library.
std::vector<fs::path> UsualPlaces() {
  const fs::path image = OwnImage();
  if (image.empty()) return {};
  const fs::path folder = image.parent_path();
  return {folder / kName, (folder / ".." / OCTAVO_LIBRARY_FOLDER / kName).lexically_normal()};
}

std::string DlError() {
  const char* text = dlerror();
  return text == nullptr ? "unknown error" : text;
}

OpenedCudaLibrary Refused(std::string why_not) { return {nullptr, std::move(why_not)}; }

OpenedCudaLibrary Open(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Refused("cannot open the CUDA backend: " + DlError());
  const auto get_table =
      reinterpret_cast<decltype(&octavo_cuda_table)>(dlsym(library, "octavo_cuda_table"));
  const kernels::CudaTable* table = get_table == nullptr ? nullptr : get_table();
  if (table == nullptr) {
    dlclose(library);
    return Refused(path + " is no CUDA backend of Octavo: it has no table");
  }
  // Nothing else of a table is known before its version is.
  if (const int32_t version = table->version; version != kernels::kCudaTableVersion) {
    dlclose(library);
    return Refused(path + " has version " + std::to_string(version) +
                   " of the table, and this Octavo needs " +
                   std::to_string(kernels::kCudaTableVersion) + ": take both from one build");
  }
  return {table, ""};
}

OpenedCudaLibrary Search() {
  std::string searched;
  for (const fs::path& place : UsualPlaces()) {
    if (access(place.c_str(), F_OK) == 0) return Open(place.string());
    searched += (searched.empty() ? "" : ", ") + place.parent_path().string();
  }
  OpenedCudaLibrary opened = Open(kName);
  // The loader's "No such file" does not say where it was looked for.
  if (opened.table == nullptr && opened.why_not.find("No such file") != std::string::npos)
    return Refused(std::string("the CUDA backend is not installed: there is no ") + kName + " in " +
                   searched + " or on the loader's path; linears run on the CPU (device cpu)");
  return opened;
}

}  // namespace

OpenedCudaLibrary OpenCudaLibrary(const char* named) {
  const std::string_view name = named == nullptr ? "" : named;
  if (name.empty()) return Search();
  if (name == "off") return Refused("it is switched off by OCTAVO_CUDA_LIBRARY=off");
  return Open(std::string(name));
}

const kernels::CudaTable* CudaLibrary(std::string* why_not) {
  // Never closed: streams and device memory outlive whoever asked.
  static const OpenedCudaLibrary& opened =
      *new OpenedCudaLibrary(OpenCudaLibrary(secure_getenv("OCTAVO_CUDA_LIBRARY")));
  if (why_not != nullptr) *why_not = opened.why_not;
  return opened.table;
}

}  // namespace octavo
