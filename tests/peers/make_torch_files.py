"""Writes the files of tests/data/torch with the real torch.save: python make_torch_files.py FOLDER

Small enough to be committed; they are seeds of the fuzz target, too.
"""

import collections
import pathlib
import sys

import torch


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    ramp = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    shared = torch.arange(12, dtype=torch.float16)
    state = collections.OrderedDict(
        plain=ramp, half=ramp.half(), brain=ramp.bfloat16(), long=torch.tensor([1, -2, 3]), flag=torch.tensor([True, False]),
        scalar=torch.tensor(2.5), empty=torch.zeros(0, 3), transposed=ramp.T, slice=shared[2:8], same=shared, column=ramp[:, 1],
        parameter=torch.nn.Parameter(ramp[:2]), fp8=ramp.to(torch.float8_e4m3fn))
    state._metadata = {"": {"version": 1}}
    torch.save(state, folder / "tensors.bin")
    torch.save({"epoch": 3, "lr": 1e-3, "name": "run", "state_dict": {"w": ramp}}, folder / "wrapped.pt")
    torch.save({"w": ramp}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"w": ramp}, folder / "protocol4.pt", pickle_protocol=4)
    torch.save({"w": ramp, "device": torch.device("cpu")}, folder / "other_global.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "script.pt"))


if __name__ == "__main__":
    main()
