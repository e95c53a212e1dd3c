#!/bin/sh
# Pins every version, with hashes and for every platform, into the four lock files. Usage: docker/lock.sh [uv]
set -eu
cd "$(dirname "$0")/.."
uv=${1:-uv}
lock() {
  out=$1
  shift
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
    --python-version 3.11 --output-file "$out" "$@"
}
lock requirements.lock pyproject.toml docker/build.in --extra api --extra worker --extra redis-server
lock requirements-dev.lock pyproject.toml docker/build.in --extra api --extra worker --extra redis-server --group dev \
  --constraint requirements.lock
lock docker/api.lock pyproject.toml --extra api --constraint requirements.lock
lock docker/worker.lock pyproject.toml --extra worker --constraint requirements.lock
