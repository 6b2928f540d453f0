#!/usr/bin/env python3
"""Installs the build into a prefix, moves the prefix, and builds and runs programs that know nothing but it: a CMake
project with find_package(octavo) in C++ and C, and a C program with pkg-config. MODEL: a .8vo file
with a linear. The command line must find a CUDA backend that was installed with it."""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def parse_arguments():
    parser = argparse.ArgumentParser()
    for name in ("source", "build", "work", "cmake", "generator", "libdir", "cc", "cxx", "sanitize"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("model", nargs="+", type=pathlib.Path)
    return parser.parse_args()


def install(args):
    """The prefix, moved from where it was installed to."""
    work = pathlib.Path(args.work)
    first, prefix = work / "first prefix", work / "prefix"
    for folder in (first, prefix, work / "consumer-build"):
        shutil.rmtree(folder, ignore_errors=True)
    run(args.cmake, "--install", args.build, "--prefix", first)
    first.rename(prefix)
    return prefix


def check_files(args, prefix):
    """Headers of all folders are there, and no installed text remembers where it was built."""
    for folder in ("format", "kernels", "libquant", "runtime"):
        for header in pathlib.Path(args.source, folder, "include").rglob("*.h"):
            name = header.relative_to(pathlib.Path(args.source, folder))
            if not (prefix / name).is_file():
                sys.exit(f"{name} of {folder} is not installed")
    texts = [path for path in prefix.rglob("*") if path.suffix in (".cmake", ".pc")]
    if len(texts) < 4:
        sys.exit(f"expected a package and a .pc file, found {texts}")
    for path in texts:
        for place in (args.source, args.build, "first prefix", "/usr/lib/"):
            if place in path.read_text(encoding="utf-8"):
                sys.exit(f"{path} refers to {place}")


def build_with_cmake(args, prefix):
    flags = f"-fsanitize={args.sanitize}" if args.sanitize else ""
    build = pathlib.Path(args.work, "consumer-build")
    here = pathlib.Path(__file__).parent
    run(args.cmake, "-S", here / "consumer", "-B", build, "-G", args.generator,
        f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_C_COMPILER={args.cc}",
        f"-DCMAKE_CXX_COMPILER={args.cxx}", f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF")
    run(args.cmake, "--build", build)
    return build / "consumer", build / "consumer_c"


def build_with_pkg_config(args, prefix):
    if not shutil.which("pkg-config"):
        sys.exit("pkg-config is missing; install the Debian package pkg-config")
    libdir = prefix / args.libdir
    environment = dict(os.environ, PKG_CONFIG_PATH=str(libdir / "pkgconfig"))
    flags = run("pkg-config", "--cflags", "--libs", "octavo", env=environment).split()
    program = pathlib.Path(args.work, "consumer_pkg_config")
    sanitize = [f"-fsanitize={args.sanitize}"] if args.sanitize else []
    source = pathlib.Path(__file__).parent / "consumer" / "consumer.c"
    run(args.cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", *sanitize, source, "-o", program,
        *flags, f"-Wl,-rpath,{libdir}")
    return program


def check_binary(args, prefix):
    """The command line, and that it finds the CUDA backend which was installed beside it, if there is one."""
    octavo = prefix / "bin" / "octavo"
    print(run(octavo, "--version").splitlines()[0])
    if not (prefix / args.libdir / "liboctavo_cuda.so").exists():
        return
    environment = {name: value for name, value in os.environ.items() if name not in ("OCTAVO_CUDA_LIBRARY", "LD_LIBRARY_PATH")}
    backends = json.loads(run(octavo, "devices", "--json", env=environment))["backends"]
    cuda = [backend for backend in backends if backend["type"] == "cuda"]
    if not cuda or any(wrong in backend["reason"] for backend in cuda for wrong in ("cannot open", "not installed:")):
        sys.exit(f"the installed CUDA backend is not found: {cuda}")
    print(f"{cuda[0]['name']}: {cuda[0]['reason']}")


def main():
    args = parse_arguments()
    prefix = install(args)
    check_files(args, prefix)
    programs = [*build_with_cmake(args, prefix), build_with_pkg_config(args, prefix)]
    for program in programs:
        for model in args.model:
            print(program.name, model.name, run(program, model).strip())
    if (prefix / "bin" / "octavo").exists():
        check_binary(args, prefix)


if __name__ == "__main__":
    main()
