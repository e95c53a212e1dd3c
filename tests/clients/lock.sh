#!/bin/sh
# Pins the clients with all they need, for `make test-clients`. Usage: tests/clients/lock.sh [uv]
# Of npm's packages, node/package-lock.json: npm install --omit-lockfile-registry-resolved --package-lock-only, in node/.
set -eu
cd "$(dirname "$0")/../.."
uv=${1:-uv}
compile() {
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
    --python-version 3.11 "$@" >/dev/null
}
for name in openai-3 node litellm litellm-proxy langchain gpt-image-mcp image-generation-mcp; do
  compile --output-file "tests/clients/locks/$name.txt" "tests/clients/locks/$name.in"
done
# Open WebUI needs PyTorch, which tools/torch_environment.sh installs; tools/torch-cuda.lock names it with what it needs.
left_out=$(sed -nE 's/^((torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+))==.*/--no-emit-package \1/p' tools/torch-cuda.lock | sort -u)
# shellcheck disable=SC2086
sed -n '/^torch==/p' tools/demo_model/requirements.in |
  compile $left_out --constraint - --output-file tests/clients/locks/open-webui.txt tests/clients/locks/open-webui.in
