#!/bin/sh
# Pins what the tools with an environment of their own need, with hashes and for every platform. Usage: tools/lock.sh [uv]
# PyTorch and the CUDA packages that it requires stand in tools/torch-cuda.lock only, so that they can be left out.
set -eu
cd "$(dirname "$0")/.."
uv=${1:-uv}
compile() {
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
    --python-version 3.11 "$@"
}
torch=$(sed -n '/^torch==/p' tools/demo_model/requirements.in)
everything=$(echo "$torch" | compile -)
left_out=$(echo "$everything" | sed -nE 's/^((torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+))==.*/--no-emit-package \1/p' | sort -u)
kept=$(echo "$everything" | sed -nE 's/^([a-z0-9-]+)==.*/\1/p' | grep -vE '^(torch|triton|nvidia-.*|cuda-.*)$' | sort -u)
only_cuda=$(for name in $kept; do echo "--no-emit-package $name"; done)
# shellcheck disable=SC2086
echo "$torch" | compile $only_cuda --output-file tools/torch-cuda.lock - >/dev/null
for tool in big_model demo_model docs_site exporter; do
  # shellcheck disable=SC2086
  compile $left_out --output-file "tools/$tool/requirements.lock" "tools/$tool/requirements.in" >/dev/null
done
