#!/bin/sh
# Installs what lock files name into a virtual environment. Usage: tools/install_lock.sh UV PYTHON LOCK_FILE...
# uv takes a fifth of pip's time. Where there is no UV, or it fails (it does not read pip.conf and so may know no index
# that can be reached), pip installs.
set -eu
uv=$1
python=$2
shift 2
for lock in "$@"; do
  set -- "$@" -r "$lock"
  shift
done
if [ -x "$uv" ]; then
  UV_HTTP_RETRIES=${UV_HTTP_RETRIES:-0} "$uv" pip install --quiet --compile-bytecode --python "$python" \
    --require-hashes "$@" && exit
  echo "uv could not install; pip installs instead ..."
fi
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes "$@"
