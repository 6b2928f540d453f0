#!/usr/bin/env bash
# Tests, sanitizer and benchmark on a machine with an NVIDIA GPU.
#
#   bash tests/gpu/run.sh --pack [BUILD_DIR]   where the toolkit is: build, and gather what a GPU machine needs into build-gpu/
#   bash tests/gpu/run.sh                      on the GPU machine, from build-gpu/: everything, in under ten minutes
#   bash tests/gpu/run.sh --quick              the tests alone
#   bash tests/gpu/run.sh --stages tests,peers some of: tests, sanitize, bench, peers
#
#   --arch LIST       with --pack: GPU architectures as CMake names them (default: 90-real;90a-real)
#   --filter PATTERN  tests by GoogleTest's pattern (default: all of them)
#   --seconds N       the whole run's limit (default: 560)
#   --budget N        seconds after which the comparison with the peers begins no further shape (default: 200)
#
# The GPU machine needs its driver, and python3 with torch and safetensors for the peers; no compiler, no network, nothing
# installed. What runs are the programs of CMake's property OCTAVO_GPU_TESTS; tests with "Small" in their name run under
# compute-sanitizer too.
# Logs and JSON go to $OUT, or build-gpu/results. Exit code 0: all that was asked for passed, whatever the speed.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
here=$root/tests/gpu
pack=$root/build-gpu

mode=run stages=tests,sanitize,bench,peers build=$root/build-pack arch='90-real;90a-real' filter='*' seconds=560 budget=200
while [ $# -gt 0 ]; do
  case "$1" in
    --pack) mode=pack; if [ -n "${2:-}" ] && [ "${2#--}" = "$2" ]; then build=$2; shift; fi ;;
    --quick) stages=tests ;;
    --stages) stages=${2:?--stages needs names}; shift ;;
    --arch) arch=${2:?--arch needs a list}; shift ;;
    --filter) filter=${2:?--filter needs a pattern}; shift ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    --budget) budget=${2:?--budget needs a number}; shift ;;
    -h|--help) sed -n '2,20s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "unknown option: $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done

# ---- Packing: here, without a GPU ----------------------------------------------------------------

# Everything must load with what any such machine has: the C and C++ libraries, and our own beside it.
check_needs() {
  local file needed bad=0
  for file in "$@"; do
    needed=$(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
      grep -vE '^(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt|ld-linux-x86-64|liboctavo|liboctavo_cuda)\.so' || true)
    if [ -n "$needed" ]; then echo "$file needs $needed" >&2; bad=1; fi
  done
  return $bad
}

# bitsandbytes at the version of the other comparisons, less the libraries for other devices.
pack_bitsandbytes() {
  local pin wheels=$build/wheels
  pin=$(grep '^bitsandbytes==' "$root/tests/peers/requirements.txt")
  mkdir -p "$wheels"
  if ! ls "$wheels/${pin/==/-}"-*.whl >/dev/null 2>&1; then
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: -d "$wheels" "$pin"
  fi
  python3 - "$wheels/${pin/==/-}"-*.whl "$pack/python" <<'PYTHON'
import sys, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith("bitsandbytes") and (not name.endswith(".so") or name.endswith("_cuda130.so")):
            archive.extract(name, target)
PYTHON
}

pack_all() {
  local programs names launcher=()
  if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
  if command -v ccache >/dev/null; then launcher+=(-DCMAKE_CUDA_COMPILER_LAUNCHER=ccache); fi
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DOCTAVO_BUILD_TESTS=ON -DOCTAVO_WERROR=ON -DOCTAVO_CUDA=ON \
    "-DOCTAVO_CUDA_ARCHITECTURES=$arch" -DZSTD_LIBRARY="$(gcc -print-file-name=libzstd.a)" \
    -DXXHASH_LIBRARY="$(gcc -print-file-name=libxxhash.a)" -DCRYPTO_LIBRARY="$(gcc -print-file-name=libcrypto.a)" "${launcher[@]}"
  cmake --build "$build" -j "$(nproc)" --target octavo octavo_c octavo_cuda octavo_gpu_tests
  mapfile -t programs <"$build/gpu_tests.txt"
  mapfile -t names < <(basename -a "${programs[@]}")

  rm -rf "$pack"
  mkdir -p "$pack/python"
  cp "$build/tools/octavo" "${programs[@]}" "$pack/"
  cp "$(readlink -f "$build/runtime/liboctavo.so")" "$pack/liboctavo.so.1"
  cp "$(find "$build" -name liboctavo_cuda.so | head -n 1)" "$pack/"
  printf '%s\n' "${names[@]}" >"$pack/TESTS"
  find "$pack" -type f -perm /111 -exec strip {} +
  check_needs "$pack/octavo" "$pack"/*.so* "${names[@]/#/$pack/}"
  pack_bitsandbytes
  git rev-parse --short=12 HEAD >"$pack/COMMIT"
  git diff --quiet HEAD || echo "$(cat "$pack/COMMIT")+changes" >"$pack/COMMIT"
  echo "packed $(cat "$pack/COMMIT"): $(du -sm "$pack" | cut -f1) MB in $pack: ${names[*]}"
}

if [ $mode = pack ]; then
  pack_all
  exit
fi

# ---- Running: on the GPU machine -----------------------------------------------------------------

[ -f "$pack/TESTS" ] || { echo "no build-gpu/TESTS: run $0 --pack where the toolkit is, and bring build-gpu along" >&2; exit 1; }
out=${OUT:-$pack/results}
mkdir -p "$out"
export LD_LIBRARY_PATH=$pack${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} PYTHONPATH=$pack/python${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CUDA_MODULE_LOADING=LAZY
mapfile -t programs <"$pack/TESTS"
chmod +x "$pack/octavo" "${programs[@]/#/$pack/}"
rm -f "$out"/*.log

summary=() failed=0
stage() {  # stage NAME LIMIT LOG COMMAND…: at most LIMIT seconds and no more than are left; failures are counted
  local name=$1 limit=$2 log=$out/$3 status=0 begin=$SECONDS
  shift 3
  if [ $((seconds - SECONDS)) -lt "$limit" ]; then limit=$((seconds - SECONDS)); fi
  if [ "$limit" -lt 5 ]; then summary+=("$name: no time left"); failed=1; return 0; fi
  timeout -k 15 "$limit" "$@" >>"$log" 2>&1 </dev/null || status=$?
  summary+=("$(printf '%-34s %4d s  %s' "$name" $((SECONDS - begin)) "$([ $status = 0 ] && echo ok || echo "FAILED, exit code $status")")")
  if [ $status -ne 0 ]; then
    failed=1
    printf '\n==== %s failed; the end of %s:\n' "$name" "${log##*/}"
    tail -n 25 "$log" | cut -c1-300
  fi
}
wanted() { case ",$stages," in *",$1,"*) return 0 ;; *) return 1 ;; esac }

# Every program's small tests under one of compute-sanitizer's tools. At least one must have run.
sanitize() {
  local tool=$1 ran=0
  shift
  for program in "$@"; do
    if ! "$pack/$program" --gtest_filter='*Small*' --gtest_list_tests </dev/null | grep -q '^  '; then continue; fi
    echo "== $tool $program"
    compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 5 "$pack/$program" --gtest_filter='*Small*' \
      --gtest_brief=1 </dev/null || return 1
    ran=1
  done
  [ "$ran" = 1 ] || { echo "no test has Small in its name"; return 1; }
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || { echo "no NVIDIA driver here" >&2; exit 1; }
printf 'commit %s, %s\n' "$(cat "$pack/COMMIT")" "$(date -u +%F)"
python3 - "$pack/octavo" <<'PYTHON' || exit 1
import json, subprocess, sys
listed = subprocess.run([sys.argv[1], "devices", "--json"], check=True, capture_output=True).stdout
found = [b for b in json.loads(listed)["backends"] if b["type"] == "cuda"]
for backend in found:
    print(backend["name"], "usable:" if backend["usable"] else "NOT usable:", backend["reason"])
sys.exit(not any(b["usable"] for b in found))
PYTHON

if wanted tests; then
  for program in "${programs[@]}"; do
    stage "$program" 150 tests.log "$pack/$program" "--gtest_filter=$filter" --gtest_brief=1
  done
  grep -E '^\[  (PASSED|SKIPPED|FAILED ) ' "$out/tests.log" || true
fi
if wanted sanitize; then
  export -f sanitize
  export pack
  begin=$SECONDS tools=(memcheck racecheck) pids=()
  for tool in "${tools[@]}"; do  # both at once: they wait for the host most of the time
    timeout -k 15 120 bash -c 'sanitize "$@"' bash "$tool" "${programs[@]}" >"$out/$tool.log" 2>&1 &
    pids+=($!)
  done
  for i in "${!tools[@]}"; do
    tool=${tools[$i]} status=0
    wait "${pids[$i]}" || status=$?
    summary+=("$(printf '%-34s %4d s  %s' "$tool" $((SECONDS - begin)) "$([ $status = 0 ] && echo clean || echo "FAILED, exit code $status")")")
    if [ $status -ne 0 ]; then
      failed=1
      printf '\n==== %s:\n' "$tool"
      tail -n 20 "$out/$tool.log" | cut -c1-200
    fi
  done
fi
if wanted bench; then
  stage "octavo bench" 45 tests.log bash -c \
    "'$pack/octavo' bench --device cuda --model llama-3-8b --tokens 1,16,256,2048 --cold --seconds 20 --json >'$out/bench.json'"
fi
if wanted peers; then
  stage "peers" $((budget + 60)) peers.log python3 "$here/bench_peers.py" --build "$pack" --budget "$budget" \
    --json "$out/peers.json" --markdown "$out/peers.md"
  cat "$out/peers.md" || true
fi

printf '\n'
printf '%s\n' "${summary[@]}"
printf '%-34s %4d s  %s\n' total $SECONDS "$([ $failed = 0 ] && echo "everything passed" || echo "SOMETHING FAILED")"
exit $failed
