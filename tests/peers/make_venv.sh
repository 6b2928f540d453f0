#!/usr/bin/env bash
# The virtual environment of the comparisons with bitsandbytes and transformers, at pinned versions.
#
#   bash tests/peers/make_venv.sh [VENVDIR]      default: .venv-peers in the repository
#
# An environment that has these pins already is left as it is. Needs python3 >= 3.11 with venv, a C compiler, binutils,
# and about 2 GB. Everything runs on the CPU, but torch's wheel on PyPI is the CUDA one and is linked with several gigabytes of CUDA libraries
# that are never called here. They are replaced by a stub with the same symbols. OCTAVO_PEERS_FULL_CUDA=1 installs the real ones.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$here/../../.venv-peers}
full=${OCTAVO_PEERS_FULL_CUDA:-0}
python=${PYTHON:-python3}
stamp=$venv/.octavo-peers
pins=$(cat "$here/requirements.txt" "$0" | sha256sum | cut -c1-64)-$full

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$pins" ]; then
  echo "peers: $venv is up to date"
  exit 0
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "peers: $python is older than 3.11" >&2; exit 1; }

# The CUDA libraries that torch's own name and nobody provides, one per line.
missing_libraries() {
  local lib
  for lib in "$1"/lib*.so; do readelf -d "$lib"; done | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
    grep -E '^lib(cu|nccl|nv)' | grep -vE '^lib(cudart|cupti)\.' | sort -u
}

# Each becomes a library whose every function aborts: nothing here may call one.
make_stubs() {
  local libs=$1 work name
  work=$(mktemp -d)
  {
    echo 'void abort(void);'
    nm -D --undefined-only "$libs"/lib{torch,c10}*.so | sed 's/@.*//' |
      grep -oE '\b(cublas|cudnn|cufft|curand|cusparse|cusolver|nccl|cuFile|nvshmem)[A-Za-z0-9_]*$' | sort -u |
      sed 's/.*/void &(void) { abort(); }/'
  } >"$work/stub.c"
  for name in $(missing_libraries "$libs"); do
    cc -shared -fPIC -w -o "$libs/$name" -Wl,-soname,"$name" "$work/stub.c"
  done
  rm -r "$work"
}

if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ]; then echo "peers: $venv exists and is no virtual environment" >&2; exit 1; fi
rm -rf "$venv"
"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)
"${pip[@]}" --no-deps -r "$here/requirements.txt"
if [ "$full" = 1 ]; then
  "${pip[@]}" "$(grep '^torch==' "$here/requirements.txt")"
else
  make_stubs "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/torch/lib"
fi
CUDA_VISIBLE_DEVICES='' "$venv/bin/python" -I - 2>"$venv/import.log" <<'PYTHON' || { cat "$venv/import.log" >&2; exit 1; }
import torch, transformers, bitsandbytes
from bitsandbytes.functional import int8_vectorwise_quant
codes, absmax, _ = int8_vectorwise_quant(torch.tensor([[1.0, -0.5, 0.25]], dtype=torch.float16))
assert codes.tolist() == [[127, -64, 32]] and absmax.tolist() == [1.0], (codes, absmax)
print(f"peers: torch {torch.__version__}, transformers {transformers.__version__}, bitsandbytes {bitsandbytes.__version__}")
PYTHON
echo "$pins" >"$stamp"
