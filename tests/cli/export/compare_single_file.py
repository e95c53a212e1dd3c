"""Compares what the converter loads of a single file with diffusers' own ``from_single_file``.

``PYTHON -m tests.cli.export.compare_single_file FILE SINGLE_FILE.json``, in the environment of the export.
It prints a JSON object: how many weights each part has. It ends with an AssertionError where one differs.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

from tools.exporter.single_file import load_single_file


def main() -> None:
    file = Path(sys.argv[1])
    plan = json.loads(Path(sys.argv[2]).read_text())
    found = load_single_file(file, plan)
    with tempfile.TemporaryDirectory() as folder:
        _write_configs(plan, Path(folder))
        for name in ("tokenizer", "tokenizer_2"):
            if name in found.components:
                found.components[name].save_pretrained(Path(folder) / name)
        own = type(found).from_single_file(str(file), config=folder, local_files_only=True, torch_dtype=torch.float32)
    counts = {}
    for name, part in found.components.items():
        if isinstance(part, torch.nn.Module):
            here = part.state_dict()
            there = own.components[name].state_dict()
            assert here.keys() == there.keys(), (name, here.keys() ^ there.keys())
            other = [key for key in here if not torch.equal(here[key], there[key])]
            assert not other, (name, other)
            counts[name] = len(here)
    print(json.dumps(counts))


def _write_configs(plan: dict[str, dict[str, dict[str, object]]], folder: Path) -> None:
    configs = Path(str(plan["configs"]))
    for path in configs.rglob("*.json"):
        relative = str(path.relative_to(configs))
        target = folder / relative
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(json.loads(path.read_text()) | plan["changes"].get(relative, {})))


if __name__ == "__main__":
    main()
