#include "tensors.h"

#include "floats.h"

namespace generate {

using octavo::DType;
using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;

Result<std::span<const std::byte>> ReadBytes(const octavo::Model& model, const std::string& name,
                                             std::vector<std::byte>* owned) {
  const octavo::format::TensorEntry* tensor = model.reader().FindTensor(name);
  if (tensor == nullptr)
    return Status(ErrorCode::kNotFound, "the file has no tensor \"" + name + "\"");
  if (tensor->dtype != DType::kF16 && tensor->dtype != DType::kBF16 && tensor->dtype != DType::kF32)
    return Status(ErrorCode::kUnsupported, "tensor \"" + name + "\" is " +
                                               std::string(octavo::DTypeName(tensor->dtype)) +
                                               "; this program reads F16, BF16 and F32");
  if (tensor->codec == octavo::format::Codec::kNone) return model.reader().Bytes(*tensor);
  OCTAVO_ASSIGN_OR_RETURN(*owned, model.reader().ReadAll(*tensor));
  return std::span<const std::byte>(*owned);
}

Result<std::vector<Real>> ReadFloats(const octavo::Model& model, const std::string& name,
                                     int64_t size) {
  std::vector<std::byte> owned;
  OCTAVO_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, ReadBytes(model, name, &owned));
  const DType dtype = model.reader().FindTensor(name)->dtype;
  std::vector<Real> floats(bytes.size() / octavo::DTypeBytes(dtype));
  if (static_cast<int64_t>(floats.size()) != size)
    return Status(ErrorCode::kInvalidFile, "tensor \"" + name + "\" has " +
                                               std::to_string(floats.size()) + " elements, not " +
                                               std::to_string(size));
  Widen(bytes.data(), dtype, size, floats.data());
  return floats;
}

}  // namespace generate
