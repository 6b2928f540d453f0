"""What a torch model multiplies by: every product with a parameter in its forward pass, as it happens.

This knows nothing of names, module classes or shapes: an operand that is a view of a parameter's storage is a weight, and the operation says
which way round it is used (F.linear takes [out, in], a matrix product [in, out]; the view's strides say whether that is how it is stored).
"""

from dataclasses import dataclass

import torch
from torch.overrides import TorchFunctionMode


@dataclass
class Product:
    parameter: str  # its name in the model
    expert: int | None  # of a parameter of three dimensions
    stored_in_out: bool  # stored as [in_features, out_features]
    x: torch.Tensor  # [tokens, in_features]
    y: torch.Tensor  # [tokens, out_features]
    bias: torch.Tensor | None  # that the operation added to y


def linear_operands(x, weight, bias=None):
    return x, weight, bias, False


def matmul_operands(x, weight):
    return x, weight, None, True


def addmm_operands(bias, x, weight, **scales):
    assert not scales, f"addmm with {scales}"
    return x, weight, bias, True


# Function -> its arguments as (x, weight, bias, whether the weight is used as [in, out]).
OPERATIONS = {
    torch.nn.functional.linear: linear_operands,
    torch.matmul: matmul_operands,
    torch.Tensor.matmul: matmul_operands,
    torch.Tensor.__matmul__: matmul_operands,
    torch.mm: matmul_operands,
    torch.bmm: matmul_operands,
    torch.Tensor.bmm: matmul_operands,
    torch.addmm: addmm_operands,
}


class Recorder(TorchFunctionMode):
    """with Recorder(model) as recorder: model(...); recorder.products"""

    def __init__(self, model):
        super().__init__()
        self.products = []
        self._parameters = {p.untyped_storage().data_ptr(): (name, p) for name, p in model.named_parameters()}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function in OPERATIONS:
            self._record(*OPERATIONS[function](*args, **kwargs), result)
        return result

    def _record(self, x, weight, bias, used_in_out, y):
        assert x.untyped_storage().data_ptr() not in self._parameters, "a weight on the left of a product"
        name, parameter = self._parameters.get(weight.untyped_storage().data_ptr(), (None, None))
        if parameter is None:
            return
        if weight.dim() == 3:  # a batch of experts: [experts, tokens, in] times [experts, in, out]
            for expert in range(weight.shape[0]):
                self._record(x[expert], weight[expert], None, used_in_out, y[expert])
            return
        rows, columns = parameter.shape[-2:]
        if tuple(weight.shape) == (rows, columns) and weight.stride() == (columns, 1):
            stored_in_out = used_in_out
        else:
            assert tuple(weight.shape) == (columns, rows) and weight.stride() == (1, columns), (
                f"{name}: a part {tuple(weight.shape)}, strides {weight.stride()} of {tuple(parameter.shape)}")
            stored_in_out = not used_in_out
        expert = weight.storage_offset() // (rows * columns) if parameter.dim() == 3 else None
        self.products.append(Product(name, expert, stored_in_out, x.reshape(-1, x.shape[-1]).double(),
                                     y.reshape(-1, y.shape[-1]).double(), bias))
