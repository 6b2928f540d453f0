#!/usr/bin/env python3
"""Each instruction-set object defines exactly one external symbol: its table.

A second one, an inline function or a template instance, could be picked by the linker for code that
must run on any CPU, and that code would then use instructions the CPU lacks. Weak symbols count, so
the check holds at every optimization level.

Usage: check_isa_objects.py NM OBJECT...
All objects of the library; those of kernels/cpu/<instruction set>.cc are checked.
"""
import os
import re
import subprocess
import sys

TABLES = {
    "portable": "kPortableKernels",
    "avx2": "kAvx2Kernels",
    "avxvnni": "kAvxVnniKernels",
    "avx512vnni": "kAvx512VnniKernels",
    "amx": "kAmxKernels",
    "ceilings_avx2": "kAvx2Ceilings",
    "ceilings_avxvnni": "kAvxVnniCeilings",
    "ceilings_avx512vnni": "kAvx512VnniCeilings",
    "ceilings_amx": "kAmxCeilings",
}


def external_symbols(nm, path):
    """Names that `path` defines for others. AddressSanitizer's markers of globals are not code."""
    output = subprocess.run([nm, "--extern-only", "--defined-only", "--demangle", path],
                            check=True, capture_output=True, text=True).stdout
    fields = [line.split(maxsplit=2) for line in output.splitlines()]
    names = [field[2] for field in fields if len(field) == 3]
    return [name for name in names if not name.startswith("__odr_asan")]


def main():
    nm, objects = sys.argv[1], sys.argv[2:]
    checked, failed = 0, False
    for path in objects:
        match = re.fullmatch(r"(\w+)\.cc\.o(bj)?", os.path.basename(path))
        if not match or match[1] not in TABLES or os.path.basename(os.path.dirname(path)) != "cpu":
            continue
        expected = ["octavo::kernels::" + TABLES[match[1]]]
        found = external_symbols(nm, path)
        checked += 1
        if found != expected:
            failed = True
            print(f"{path}: defines {found}, expected {expected}")
    if checked == 0:
        print("no instruction-set object among the arguments")
        return 1
    print(f"{checked} instruction-set object(s) checked")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
