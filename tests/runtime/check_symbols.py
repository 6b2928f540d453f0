#!/usr/bin/env python3
"""Fails unless liboctavo.so exports exactly the functions of octavo.h and needs nothing of ours from elsewhere.

    check_symbols.py NM READELF LIBRARY HEADER --sanitize=SANITIZERS
"""
import re
import subprocess
import sys

SYSTEM_LIBRARIES = re.compile(r"^(lib(c|m|dl|gcc_s|stdc\+\+|zstd|xxhash|pthread)|ld-linux.*)\.so")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    nm, readelf, library, header = sys.argv[1:5]
    sanitized = sys.argv[5] != "--sanitize="
    faults = []
    text = open(header, encoding="utf-8").read()
    declared = set(re.findall(r"\b(octavo_\w+)\(", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))
    if len(declared) < 20:
        faults.append(f"found only {len(declared)} functions in {header}")

    defined = set()
    for line in run(nm, "-D", "--defined-only", library).splitlines():
        kind, name = line.split()[-2:]
        if kind == "A":  # the version node
            continue
        name, _, version = name.partition("@@")
        defined.add(name)
        if version != "OCTAVO_1":
            faults.append(f"{name} has version {version or 'none'}, not OCTAVO_1")
    faults += [f"exported, but not in octavo.h: {name}" for name in sorted(defined - declared)]
    faults += [f"in octavo.h, but not exported: {name}" for name in sorted(declared - defined)]

    for line in run(nm, "-D", "-C", "--undefined-only", library).splitlines():
        if "octavo" in line:
            faults.append(f"needs a symbol of ours from elsewhere: {line.strip()}")
    dynamic = run(readelf, "-d", library)
    if "SONAME" not in dynamic or "[liboctavo.so.1]" not in dynamic:
        faults.append("the SONAME is not liboctavo.so.1")
    for name in re.findall(r"NEEDED.*\[(.+)\]", dynamic):
        if not SYSTEM_LIBRARIES.match(name) and not (sanitized and "san.so" in name):
            faults.append(f"needs {name}")
    print("\n".join(faults) if faults else f"{len(defined)} functions, as declared")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
