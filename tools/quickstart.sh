#!/usr/bin/env bash
# From a fresh clone to a quantized model: builds Octavo, converts the model that ships with it, shows what
# is in the file, checks it, and measures what int8 costs on real activations.
#
#   bash tools/quickstart.sh
#
# Debian packages that are missing are installed first. Everything goes to build/; run it as often as you like.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

model=tests/data/models/gpt2-novels-outliers
activations=$model/activations.safetensors
out=build/quickstart
octavo=build/tools/octavo
file=$out/gpt2-novels-outliers.8vo
module=transformer.h.5.attn.c_attn
log=$out/build.log
errors=$out/errors.txt

heading() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '\033[1m$ %s\033[0m\n' "$*"; "$@"; }
if [ ! -t 1 ]; then
  heading() { printf '\n== %s\n' "$*"; }
  show() { printf '$ %s\n' "$*"; "$@"; }
fi

build() {
  mkdir -p "$out"
  : >"$log"
  if [ ! -f build/CMakeCache.txt ]; then
    local generator=()
    if command -v ninja >/dev/null; then generator=(-G Ninja); fi
    cmake -S . -B build "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DOCTAVO_BUILD_TESTS=OFF >>"$log" 2>&1 || return 1
  fi
  cmake --build build --target octavo -j "$(nproc)" >>"$log" 2>&1
}

# compare LABEL CONVERT_OPTIONS…: converts so, and adds "label|error of the module in percent" to $errors.
compare() {
  local label=$1 result
  shift
  "$octavo" convert "$model" -o "$out/comparison.8vo" --force --quiet "$@"
  result=$("$octavo" forward "$out/comparison.8vo" --module "$module" --input "$activations" \
    --output-dtype F32 --compare "$model" --json)
  awk -F '[:,]' -v label="$label" '/"relative_error"/ { printf "%s|%.3f\n", label, $2 * 100 }' \
    <<<"$result" >>"$errors"
}

# bars UNIT: lines "label|number" as a table with a picture, the largest number as wide as that may be.
bars() {
  local block='#'
  case "${LC_ALL:-${LC_CTYPE:-${LANG:-}}}" in *UTF-8 | *utf8 | *utf-8) block='█' ;; esac
  awk -F '|' -v block="$block" -v unit="$1" -v width=40 '
    { label[NR] = $1; value[NR] = $2; if ($2 > largest) largest = $2 }
    END {
      for (i = 1; i <= NR; i++) {
        bar = ""
        for (j = 0; j < value[i] / largest * width; j++) bar = bar block
        printf "  %-42s %7.3f %-2s  %s\n", label[i], value[i], unit, bar
      }
    }'
}

heading "packages and build"
bash tools/install_packages.sh build
if [ ! -x "$octavo" ]; then echo "building into build/: a few minutes, once (log: $log)"; fi
if ! build; then
  tail -40 "$log" >&2
  echo "the build failed; all of its output is in $log" >&2
  exit 1
fi
"$octavo" --version

heading "convert: a GPT-2-type model, 16 bit to int8"
show "$octavo" convert "$model" -o "$file" --force

heading "inspect: what is in the file, and why"
show "$octavo" inspect "$file"

heading "verify: every checksum, and every code recomputed from the source"
show "$octavo" verify "$file"
show "$octavo" verify "$file" --against "$model"

heading "forward: one linear on activations captured from a novel"
show "$octavo" forward "$file" --module "$module" --input "$activations" \
  --output "$out/y.safetensors" --force --compare "$model"

heading "what int8 costs: error of $module, relative to its 16-bit weights"
rm -f "$errors"
compare "one scale for each matrix (tensor-wise)" --method tensor-wise --threshold 0
compare "one for each row of X (row-wise)" --method row-wise --threshold 0
compare "one for each row of X and W (vector-wise)" --activations symmetric --threshold 0
compare "LLM.int8(): outliers in 16 bit (paper)" --compat paper
compare "LLM.int8(), Octavo's default"
bars '%' <"$errors"
rm -f "$out/comparison.8vo"


heading "size"
awk -v before="$(stat -c %s "$model/model.safetensors")" -v after="$(stat -c %s "$file")" 'BEGIN {
  printf "model.safetensors, 16 bit|%.2f\n", before / 1e6
  printf ".8vo, int8 (embeddings stay in 16 bit)|%.2f\n", after / 1e6
}' | bars MB

cat <<'END'

The model was trained from nothing on public-domain novels. Being small, it has hardly any outliers of its own, so
three of its features were scaled up on purpose, and the weights behind them down: its function is the same, its
activations look like those of a large model. tests/data/models/README.md has the details.
END
printf '\ndone in %d s; the converted model is %s\n' "$SECONDS" "$file"
