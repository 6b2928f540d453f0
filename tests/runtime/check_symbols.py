#!/usr/bin/env python3
"""Fails unless a C library exports exactly the functions of its header and needs nothing of ours from elsewhere.

    check_symbols.py NM READELF LIBRARY HEADER --sanitize=SANITIZERS VERSION_NODE SONAME
"""
import re
import subprocess
import sys

SYSTEM_LIBRARIES = re.compile(r"^(lib(c|m|dl|gcc_s|stdc\+\+|zstd|xxhash|crypto|pthread)|ld-linux.*)\.so")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    nm, readelf, library, header = sys.argv[1:5]
    sanitized = sys.argv[5] != "--sanitize="
    version_node, soname = sys.argv[6:8]
    faults = []
    text = open(header, encoding="utf-8").read()
    declared = set(re.findall(r"\b(octavo_\w+)\(", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))
    if len(declared) < 3:
        faults.append(f"found only {len(declared)} functions in {header}")

    defined = set()
    for line in run(nm, "-D", "--defined-only", library).splitlines():
        kind, name = line.split()[-2:]
        if kind == "A":  # the version node
            continue
        name, _, version = name.partition("@@")
        defined.add(name)
        if version != version_node:
            faults.append(f"{name} has version {version or 'none'}, not {version_node}")
    faults += [f"exported, but not in {header}: {name}" for name in sorted(defined - declared)]
    faults += [f"in {header}, but not exported: {name}" for name in sorted(declared - defined)]

    for line in run(nm, "-D", "-C", "--undefined-only", library).splitlines():
        if "octavo" in line:
            faults.append(f"needs a symbol of ours from elsewhere: {line.strip()}")
    dynamic = run(readelf, "-d", library)
    if "SONAME" not in dynamic or f"[{soname}]" not in dynamic:
        faults.append(f"the SONAME is not {soname}")
    for name in re.findall(r"NEEDED.*\[(.+)\]", dynamic):
        if not SYSTEM_LIBRARIES.match(name) and not (sanitized and "san.so" in name):
            faults.append(f"needs {name}")
    print("\n".join(faults) if faults else f"{len(defined)} functions, as declared")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
