#!/bin/sh
# Pins the older openai packages with all they need, for `make sdk-venvs`. Usage: tests/sdk/lock.sh [uv]
set -eu
cd "$(dirname "$0")"
uv=${1:-uv}
case $uv in
*/*) uv=../../$uv ;;
esac
for major in 1 2; do
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
    --python-version 3.11 --output-file "openai-$major.txt" "openai-$major.in"
done
