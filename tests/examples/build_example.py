#!/usr/bin/env python3
"""Builds an example as a user does: installs the build into a prefix, and gives CMake nothing but the example's folder
and that prefix. WORK/build/ has the program."""
import argparse
import pathlib
import shutil
import subprocess
import sys


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("example", "build", "work", "cmake", "generator", "cxx", "cc"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--launcher", default="", help="in front of the compiler, such as ccache")
    parser.add_argument("--sanitize", default="")
    args = parser.parse_args()

    work = pathlib.Path(args.work)
    prefix, source = work / "prefix", work / "source"
    for folder in (prefix, source, work / "build"):
        shutil.rmtree(folder, ignore_errors=True)
    run(args.cmake, "--install", args.build, "--prefix", prefix)
    shutil.copytree(args.example, source)  # away from the repository: nothing of it can be included by chance
    flags = f"-fsanitize={args.sanitize} -fno-sanitize-recover=all" if args.sanitize else ""
    run(args.cmake, "-S", source, "-B", work / "build", "-G", args.generator, f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_CXX_COMPILER={args.cxx}", f"-DCMAKE_C_COMPILER={args.cc}", f"-DCMAKE_CXX_COMPILER_LAUNCHER={args.launcher}",
        f"-DCMAKE_CXX_FLAGS={flags} -Werror", f"-DCMAKE_C_FLAGS={flags}", "-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF")
    run(args.cmake, "--build", work / "build", "-j", "2")


if __name__ == "__main__":
    main()
