#!/bin/sh
# Makes a virtual environment with PyTorch for a tool. Usage: tools/torch_environment.sh PYTHON FOLDER LOCK_FILE
# PyTorch is installed without CUDA (0.2 GB instead of 3 GB) where pip finds such a build, else with it.
set -eu
python=$1
environment=$2
lock=$3
here=$(dirname "$0")
"$python" -m venv --clear "$environment"
install() {
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps "$@"
}
if ! install -r "$here/torch-cpu.lock" 2>/dev/null; then
  echo "PyTorch without CUDA is not available for this Python: installing the build with CUDA (3 GB) ..."
  install -r "$here/torch-cuda.lock"
fi
install -r "$lock"
