#!/usr/bin/env python3
"""Runs the commands of docs/tutorial.md, in order, as somebody who reads it, and compares what they print.

    tutorial_test.py --build BUILD --work WORK [--generator …] [--cxx …] [--launcher …] [--sanitize …]

The home folder is WORK/home: the page leaves an installation there, and WORK/home/octavo/engine/generate, which other tests use.
The current folder is WORK/clone: what the page reads of the repository, and BUILD. A line of output that the page shows must
be printed, in the order of the page; "…" is any text within a line, and alone on a line any lines.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/tutorial.md"
NUM_COMMANDS = 6


def steps(page):
    """(command, lines of output) of each console block."""
    for block in re.findall(r"(?ms)^```console\n(.*?)^```$", page):
        command, *output = block.splitlines()
        assert command.startswith("$ "), command
        yield command[2:], output


def check_output(command, shown, printed):
    """The page's lines are among the printed ones in that order; without a line "…" between two, nothing else is."""
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n" for line in shown)
    if not re.fullmatch(pattern, printed):
        sys.exit(f"{PAGE.name}: {command}\nshould print\n{chr(10).join(shown)}\nand prints\n{printed}")


def environment(args, home):
    """What cmake takes from the environment, so that the page need not say it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OCTAVO_")}
    sanitize = f"-fsanitize={args.sanitize} -fno-sanitize-recover=all " if args.sanitize else ""
    changes = {"HOME": str(home), "LC_ALL": "C.UTF-8", "CXXFLAGS": sanitize + "-Werror", "CFLAGS": sanitize,
               "CMAKE_BUILD_PARALLEL_LEVEL": "2", "CMAKE_GENERATOR": args.generator, "CXX": args.cxx,
               "CMAKE_CXX_COMPILER_LAUNCHER": args.launcher}
    if args.launcher:  # ccache's folder is found from the real home
        changes["CCACHE_DIR"] = os.environ.get("CCACHE_DIR", str(pathlib.Path.home() / ".cache/ccache"))
    return {**kept, **{name: value for name, value in changes.items() if value}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    for name in ("generator", "cxx", "launcher", "sanitize"):
        parser.add_argument(f"--{name}", default="")
    args = parser.parse_args()

    home, clone = args.work.resolve() / "home", args.work.resolve() / "clone"
    for folder in (home, clone):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    (clone / "build").symlink_to(args.build.resolve())
    (clone / "tests").symlink_to(ROOT / "tests")
    shutil.copytree(ROOT / "docs/examples", clone / "docs/examples")  # away from the sources: none is included by chance

    commands = list(steps(PAGE.read_text(encoding="utf-8")))
    if len(commands) != NUM_COMMANDS:
        sys.exit(f"{PAGE.name} has {len(commands)} commands, not {NUM_COMMANDS}")
    for command, shown in commands:
        done = subprocess.run(["bash", "-c", command], cwd=clone, env=environment(args, home), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{PAGE.name}: {command}\nexit status {done.returncode}\n{done.stdout}")
        check_output(command, shown, done.stdout)
        print(f"$ {command}: as the page says")


if __name__ == "__main__":
    main()
