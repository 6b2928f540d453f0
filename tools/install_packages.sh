#!/usr/bin/env bash
# Installs the Debian packages that are missing, and does nothing where none is.
#   install_packages.sh build             what building and using Octavo needs
#   install_packages.sh test              the same and what the tests need
#   install_packages.sh fuzz              the same and clang with its sanitizer runtimes
set -euo pipefail

build=(g++ cmake ninja-build pkg-config nlohmann-json3-dev libcli11-dev libzstd-dev libxxhash-dev libssl-dev)
test=("${build[@]}" ccache libgtest-dev libboost-context-dev python3 python3-venv python3-numpy python3-xxhash python3-zstandard binutils openmpi-bin)
# The runtimes' package carries clang's version: 14 on Debian 12, 19 on Debian 13.
clang_version() { apt-cache show clang 2>/dev/null | sed -n 's/^Depends:.*clang-\([0-9]*\).*/\1/p' | head -n 1; }

case "${1:-build}" in
  build) wanted=("${build[@]}") ;;
  test) wanted=("${test[@]}") ;;
  fuzz) wanted=("${test[@]}" clang "libclang-rt-$(clang_version)-dev") ;;
  *) echo "usage: $0 build|test|fuzz" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

echo "installing: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "not root and no sudo: install these packages first: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q && "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -20 "$log" >&2
  echo "apt-get could not install: ${missing[*]}" >&2
  exit 1
fi
