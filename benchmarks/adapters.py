"""The cost of switching the adapter at every request: the model's own time with and without switching."""

import re
import statistics
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from graphs.adapters.fit import fit_adapter
from graphs.adapters.layers import read_layers
from graphs.families.model_facts import read_model_facts
from graphs.repository.bundled import bundled_model_path
from tests.support.service import Service, serving, write_graph

_GENERATE = re.compile(r"generate;dur=([\d.]+)")
_ATTENTION = re.compile(r"\.to_(q|k|v|out\.0)$")
_RANK = 8
_ALIASES = ("a", "b")
_PAIRS = 40
_WARM_UP = 4  # pairs


def switching(folder: Path, _: int) -> list[str]:
    """Return table rows: medians of ``generate()`` in milliseconds, of 40 interleaved requests of each kind.

    The order is a, a, b, b, ...: every second request switches the adapter, the one after it does not.
    """
    entries = [
        f'lora_adapters {{ alias: "{alias}" path: "{_adapter(folder / f"{alias}.safetensors", seed)}" mode: DYNAMIC }}'
        for seed, alias in enumerate(_ALIASES)
    ]
    model = write_graph(folder / "shapes", steps=20, more="\n".join(entries))
    with serving(folder, "--model_path", str(model)) as service:
        pairs = [_pair(service, _ALIASES[number % 2]) for number in range(_WARM_UP + _PAIRS)][_WARM_UP:]
    switched, stayed = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(switch / stay for switch, stay in pairs)
    return [
        "| generate(), ms | median |",
        "|---|---|",
        f"| another adapter than the request before | {switched:.1f} |",
        f"| the same adapter as the request before | {stayed:.1f} |",
        "",
        f"A request that switches takes {switched / stayed:.3f} times one that does not (medians; of the single pairs "
        f"{ratio:.3f}; n = {_PAIRS} each; rank {_RANK} on every attention projection).",
    ]


def _adapter(path: Path, seed: int) -> Path:
    """Write an adapter with random values for every attention projection of the bundled model."""
    model = bundled_model_path()
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, layer in read_layers(model / "unet" / "openvino_model.xml").items():
        if _ATTENTION.search(name):
            tensors[f"unet.{name}.lora_A.weight"] = generator.normal(size=(_RANK, layer.inputs)).astype(np.float32)
            tensors[f"unet.{name}.lora_B.weight"] = generator.normal(size=(layer.outputs, _RANK)).astype(np.float32)
    save_file({name: 0.02 * values for name, values in tensors.items()}, path)
    fit_adapter(path, model, read_model_facts(model).family)
    return path


def _pair(service: Service, alias: str) -> tuple[float, float]:
    """Send two requests for one adapter; the one before them was for the other adapter."""
    return _draw(service, alias), _draw(service, alias)


def _draw(service: Service, model: str) -> float:
    body = {"model": model, "prompt": "a red circle on a blue background", "seed": 1}
    answer = service.http.post("/v3/images/generations", json=body)
    answer.raise_for_status()
    found = _GENERATE.search(answer.headers["server-timing"])
    assert found is not None
    return float(found[1])
