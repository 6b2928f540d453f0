#!/usr/bin/env python3
"""Fails if an include points against the architecture (docs/architecture.md):

    tools -> libquant, runtime, format, kernels      libquant, runtime -> format, kernels
    format, kernels -> nothing of ours; runtime never needs libquant

    check_layers.py ROOT        check the tree
    check_layers.py --self-test see the check fail on a wrong include, and pass on a right one
"""
import pathlib
import re
import sys
import tempfile

MAY_INCLUDE = {
    "format": set(),
    "kernels": set(),
    "libquant": {"format", "kernels"},
    "runtime": {"format", "kernels"},
    "tools": {"format", "kernels", "libquant", "runtime"},
}
SOURCES = {".h", ".cc", ".c", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^">]+)[">]', re.MULTILINE)


def public_headers(root):
    """Header as it is included ("octavo/reader.h") -> folder; a name in two folders is an error of its own."""
    owner = {}
    for folder in MAY_INCLUDE:
        for path in (root / folder / "include").rglob("*.h"):
            name = path.relative_to(root / folder / "include").as_posix()
            if name in owner:
                raise SystemExit(f"public header {name} exists in {owner[name]}/ and in {folder}/")
            owner[name] = folder
    return owner


def violations(root):
    owner = public_headers(root)
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCES:
                continue
            for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
                target = owner.get(name, name.split("/")[0])
                if target in MAY_INCLUDE and target != folder and target not in allowed:
                    yield f"{path.relative_to(root)} includes {name}: {folder} must not depend on {target}"
                private = name.split("/")[0] in MAY_INCLUDE and "/include/" not in name
                if private and target != folder:
                    yield f"{path.relative_to(root)} includes {name}: a private header of {target}"
                if name.startswith("tests/"):
                    yield f"{path.relative_to(root)} includes {name}: the product must not need its tests"


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name in MAY_INCLUDE:
            (root / name / "include" / "octavo").mkdir(parents=True)
        (root / "format/include/octavo/reader.h").write_text("")
        (root / "libquant/include/octavo/convert.h").write_text('#include "octavo/reader.h"\n')
        assert not list(violations(root)), "a right include was refused"
        (root / "runtime/model.cc").write_text('#include "octavo/convert.h"\n')
        assert len(list(violations(root))) == 1, "runtime -> libquant was not found"
        (root / "tools/main.cc").write_text('#include "format/file.h"\n')
        assert len(list(violations(root))) == 2, "a private header of format in tools was not found"


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    found = list(violations(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "layers: OK")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
