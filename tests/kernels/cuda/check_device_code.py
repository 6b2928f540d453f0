#!/usr/bin/env python3
"""What the compilers made of the CUDA kernels.

    check_device_code.py spills ARCHITECTURES OBJECT...
        What a 16-bit model runs has no registers spilled to memory: by ptxas -v, which the build keeps in OBJECT.ptxas.

    check_device_code.py instructions ARCHITECTURES LIBRARY FOLDER...
        Every product multiplies on the int8 tensor cores, in the machine code of each architecture. Needs cuobjdump
        (PyPI: nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm) on PATH, in one of the folders, or in a virtual environment
        that is one of them. Exits with 77 where there is none.

ARCHITECTURES is OCTAVO_CUDA_ARCHITECTURES with commas: "75-real,80,90a-real".
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections import defaultdict

SKIPPED = 77
PRODUCT = re.compile(r"[A-Za-z]*(FewTokens|Product)[A-Za-z]*Kernel")


def kernel_name(symbol):
    """"_ZN6octavo4cuda45_GLOBAL__N__…FewTokensKernelILb0EEEv…" -> "FewTokensKernel"."""
    found = re.search(r"\d([A-Z][A-Za-z]*Kernel)[IE]", symbol)
    return found[1] if found else symbol


def instruction(kernel):
    """What multiplies int8 on tensor cores: wgmma's or mma.sync's."""
    return "IGMMA" if "Wgmma" in kernel else "IMMA"


def runs_on(symbol, architecture):
    """A kernel that is given tensor maps is launched where there is TMA; code for older chips is a stub."""
    return "CUtensorMap" not in symbol or int(re.search(r"\d+", architecture)[0]) >= 90


def is_hot(symbol):
    """Not rows so long that acc leaves int32, and not activations in 32 bit, which models do not have."""
    return "DeepRows" not in kernel_name(symbol) and "6SingleE" not in symbol


def wanted(architectures):
    """Architectures with machine code -> kernels that must be there. wgmma's file is built for sm_90a and nothing else."""
    names = {"sm_" + entry.removesuffix("-real") for entry in architectures.split(",") if not entry.endswith("-virtual")}
    common = {name for name in names if name != "sm_90a"} or names
    kernels = {name: {"FewTokensKernel", "ProductMmaKernel"} for name in common}
    if "sm_90a" in names:
        kernels.setdefault("sm_90a", set()).add("ProductWgmmaKernel")
    return kernels


def missing(architectures, found):
    return [f"no {kernel} for {name}" for name, kernels in sorted(wanted(architectures).items())
            for kernel in sorted(kernels - found[name])]


def check_spills(architectures, objects):
    found, faults, count = defaultdict(set), [], 0
    for built in objects:
        symbol = architecture = None
        for line in pathlib.Path(f"{built}.ptxas").read_text().splitlines():
            if entry := re.search(r"Compiling entry function '(\S+)' for '(\S+)'", line):
                symbol, architecture = entry.groups()
            elif (spill := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)) and symbol:
                kernel = kernel_name(symbol)
                found[architecture].add(kernel)
                count += 1
                if is_hot(symbol) and spill.groups() != ("0", "0"):
                    faults.append(f"{architecture} {symbol}: {spill[0]}")
                symbol = None
    print(f"{count} kernels for {', '.join(sorted(found))}")
    return faults + missing(architectures, found)


def find_cuobjdump(folders):
    candidates = [pathlib.Path(path) for path in [shutil.which("cuobjdump")] if path]
    for folder in map(pathlib.Path, folders):
        candidates += [folder / "cuobjdump", *folder.glob("lib/python*/site-packages/nvidia/*/bin/cuobjdump")]
    return next((path for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)


def check_instructions(architectures, library, folders):
    cuobjdump = find_cuobjdump(folders)
    if cuobjdump is None:
        print("SKIPPED: no cuobjdump on PATH, nor in " + ", ".join(folders))
        sys.exit(SKIPPED)
    # It calls nvdisasm, which lies beside it.
    env = os.environ | {"PATH": f"{cuobjdump.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(*arguments):
        return subprocess.run([cuobjdump, *arguments, library], check=True, capture_output=True, text=True, env=env).stdout

    symbols = {s for s in re.findall(r"Function (\S+):", run("--dump-resource-usage")) if PRODUCT.fullmatch(kernel_name(s))}
    steps, architecture, symbol = defaultdict(list), None, None
    for line in run("--dump-sass", "--function", ",".join(sorted(symbols))).splitlines():
        if header := re.match(r"arch = (\S+)", line):
            architecture = header[1]
        elif header := re.match(r"\s*Function : (\S+)", line):
            symbol = header[1]
        elif symbol and (step := re.search(r"/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9._x]*)", line)):
            steps[architecture, symbol].append(step[1])

    found, faults = defaultdict(set), []
    for (architecture, symbol), names in sorted(steps.items()):
        if not runs_on(symbol, architecture):
            continue
        kernel = kernel_name(symbol)
        found[architecture].add(kernel)
        kinds = sorted({name for name in names if name.startswith(instruction(kernel) + ".") and ".S8" in name})
        print(f"{architecture} {kernel}: {len(names)} instructions, {', '.join(kinds) or 'no int8 product'}")
        if not kinds:
            faults.append(f"{architecture} {symbol}: no {instruction(kernel)} of int8")
    return faults + missing(architectures, found)


def main():
    what, architectures, *rest = sys.argv[1:]
    faults = check_spills(architectures, rest) if what == "spills" else check_instructions(architectures, rest[0], rest[1:])
    print("\n".join(faults) if faults else "as it should be")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
