#!/usr/bin/env bash
# Runs each fuzz target of a build with OCTAVO_FUZZ=ON for some seconds: tests/fuzz/run.sh BUILD SECONDS.
# New inputs go to BUILD/fuzz-corpus; an input that crashes is left in BUILD/fuzz-crashes and belongs, once mended, into
# tests/fuzz/corpus.
set -euo pipefail
build=$(cd "$1" && pwd) seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
for name in chunk manifest reader safetensors torch; do
  target=$(find "$build" -name "octavo_fuzz_$name" -type f -perm -u+x | head -n 1)
  mkdir -p "$build/fuzz-corpus/$name" "$build/fuzz-crashes/$name"
  seeds=("$here/corpus/$name")
  if [ "$name" = reader ]; then seeds+=("$here/../golden/valid" "$here/../golden/invalid"); fi
  if [ "$name" = torch ]; then seeds+=("$here/../data/torch"); fi
  echo "==== $name, $seconds s"
  "$target" -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 \
    -artifact_prefix="$build/fuzz-crashes/$name/" "$build/fuzz-corpus/$name" "${seeds[@]}" 2>&1 | tail -n 12
done
