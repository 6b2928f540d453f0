#!/usr/bin/env bash
# Builds Octavo and runs its tests on a Debian machine, installing what is missing. Where nvcc is on PATH, that includes the
# CUDA library, for every GPU architecture.
#
#   bash tests/run.sh                every test
#   bash tests/run.sh --sanitize     the same again under ASan+UBSan, and what uses threads under TSan
#   bash tests/run.sh --peers        against the real bitsandbytes, transformers and torch (a virtual environment, about 3 GB)
#   bash tests/run.sh --fuzz 60      each fuzz target for 60 seconds, with clang
#
# Options add up; --only leaves the plain tests out. Ends with 0 only if everything passed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

plain=1 sanitize=0 peers=0 fuzz_seconds=0
while [ $# -gt 0 ]; do
  case "$1" in
    --sanitize) sanitize=1 ;;
    --peers) peers=1 ;;
    --fuzz) fuzz_seconds=${2:?--fuzz needs seconds}; shift ;;
    --only) plain=0 ;;
    -h|--help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "unknown option: $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done

jobs=$(nproc)
werror=OFF  # a newer compiler's new warning must not keep a user from testing
if [ -n "${CI:-}" ]; then werror=ON; fi
times=()
stage() {  # stage NAME COMMAND…: runs it, says how long it took, ends the script if it failed
  local name=$1 begin=$SECONDS
  shift
  printf '\n==== %s\n' "$name"
  if ! "$@"; then printf '==== %s: FAILED after %d s\n' "$name" $((SECONDS - begin)); exit 1; fi
  times+=("$(printf '%-28s %5d s' "$name" $((SECONDS - begin)))")
}

configure_and_build() {  # configure_and_build DIR TARGETS -- CMAKE_OPTIONS
  local dir=$1 targets=()
  shift
  while [ "$1" != -- ]; do targets+=("$1"); shift; done
  shift
  local launcher=()
  if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache); fi
  cmake -S "$root" -B "$dir" -G Ninja -DOCTAVO_WERROR=$werror -DOCTAVO_BUILD_TESTS=ON "${launcher[@]}" "$@" >"$dir.configure.log" 2>&1 || { cat "$dir.configure.log"; return 1; }
  grep -o 'liboctavo_cuda.so is .*' "$dir.configure.log" || true  # with what it is built, or why it is left out
  rm -f "$dir.configure.log"
  cmake --build "$dir" -j "$jobs" --target "${targets[@]}"
}

run_ctest() { ctest --test-dir "$1" --output-on-failure -j "$jobs" "${@:2}"; }

# What depends on the chosen kernels, once more with each other table that this machine can run, chosen as a user would.
test_each_backend() {
  local name
  for name in $(build/tools/octavo devices --json | python3 -c '
import json, sys
print(*[b["name"] for b in json.load(sys.stdin)["backends"] if b["type"] == "cpu" and b["usable"] and not b["selected"]])'); do
    echo "OCTAVO_CPU=$name"
    OCTAVO_CPU=$name run_ctest build -R '^(quant|runtime)\.|^cli_(convert|forward)$' || return 1
  done
}

repeated='^format\.CorruptionSlow|TenThousand'  # the same for minutes, which sanitizers make many
test_sanitized() {
  ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
    run_ctest build-asan -E "$repeated"
}

test_threads() {
  # Memory that there is not is a null, as without it. What has no threads, or checks libraries from outside, is left out.
  export TSAN_OPTIONS=halt_on_error=1:allocator_may_return_null=1
  run_ctest build-tsan -R '^kernels\..*(Thread|Staging|Measure)|^(quant|runtime)\.' -E '^(runtime|quant)\.c\.|architectures_page|RealActivations' &&
    run_ctest build-tsan -L threads -R '^format\.'
}

stage "packages" bash tools/install_packages.sh test
if [ $plain = 1 ]; then
  stage "build" configure_and_build build all -- -DCMAKE_BUILD_TYPE=Release
  stage "tests" run_ctest build
  stage "tests on each backend" test_each_backend
fi
if [ $sanitize = 1 ]; then
  # More optimization takes twice as long to build, and the tests hardly less. Warnings are the plain build's matter: with less, GCC 12 sees
  # mismatched pairs of new and delete where there are none. GPU code is not sanitized: one architecture of it will do.
  sanitized=(-DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1 -DNDEBUG" -DOCTAVO_WERROR=OFF)
  stage "build, ASan+UBSan" configure_and_build build-asan all -- "${sanitized[@]}" -DOCTAVO_SANITIZE=address,undefined \
    -DOCTAVO_CUDA_ARCHITECTURES=80-real
  stage "tests, ASan+UBSan" test_sanitized
  stage "build, TSan" configure_and_build build-tsan octavo_thread_tests -- "${sanitized[@]}" -DOCTAVO_SANITIZE=thread \
    -DOCTAVO_CUDA_ARCHITECTURES=80-real
  stage "tests, TSan" test_threads
fi
if [ $peers = 1 ]; then
  stage "build for peers" configure_and_build build all -- -DCMAKE_BUILD_TYPE=Release
  stage "peers" bash tests/peers/run.sh "$root/build"
  stage "int8 instructions" run_ctest build -R '^cuda\.instructions$'  # the peers' environment has brought cuobjdump
fi
if [ "$fuzz_seconds" -gt 0 ]; then
  stage "packages for fuzzing" bash tools/install_packages.sh fuzz
  stage "build, fuzz targets" configure_and_build build-fuzz octavo_fuzz_targets -- -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DOCTAVO_FUZZ=ON -DOCTAVO_SANITIZE=address,undefined
  stage "fuzzing" bash tests/fuzz/run.sh build-fuzz "$fuzz_seconds"
fi

printf '\n%s\n' "${times[@]}"
echo "everything passed"
