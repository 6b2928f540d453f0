#!/usr/bin/env python3
"""Fails unless liboctavo_cuda.so exports its table and nothing else, and runs on a machine without CUDA: no library of
NVIDIA's is needed to open it.

    check_cuda_symbols.py NM READELF LIBRARY
"""
import re
import subprocess
import sys

SYSTEM_LIBRARIES = re.compile(r"^(lib(c|m|dl|rt|gcc_s|stdc\+\+|pthread)|ld-linux.*)\.so")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    nm, readelf, library = sys.argv[1:4]
    exported = [line.split()[-1] for line in run(nm, "-D", "--defined-only", library).splitlines()]
    needed = re.findall(r"NEEDED.*\[(.+)\]", run(readelf, "-d", library))
    faults = [f"needs {name}" for name in needed if not SYSTEM_LIBRARIES.match(name)]
    if exported != ["octavo_cuda_table"]:
        faults.append(f"exports {exported}")
    if not needed:
        faults.append(f"found no needed library in {library}")
    print("\n".join(faults) if faults else f"exports {exported[0]}; needs {', '.join(needed)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
