"""Adapters as a client sees them: tiny models served with graph.pbtxt files, and requests to them."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from graphs.families.family import Operation
from tests.support.images import image_bytes, pixels
from tests.support.service import Service, write_graph
from tests.workers.engine.adapter_support import MODES, Blend, raw_image
from tests.workers.engine.engine_support import MODELS, SIDE, make_inputs
from workers.engine.protocol import Pixels

# What tests/workers/engine_support.make_request asks of GenAI itself.
ASKED: dict[str, Any] = {"prompt": "a red fox", "rng_seed": 7, "num_inference_steps": 2, "size": f"{SIDE}x{SIDE}"}
OPERATIONS = tuple(Operation)


def adapter_entry(alias: str, path: Path, mode: str = "DYNAMIC", alpha: float | None = None) -> str:
    strength = "" if alpha is None else f"alpha: {alpha}"
    return f'lora_adapters {{ alias: "{alias}" path: "{path}" {strength} mode: {mode} }}\n'


def composite_entry(alias: str, **alphas: float) -> str:
    parts = " ".join(f'components {{ adapter_alias: "{name}" alpha: {alpha} }}' for name, alpha in alphas.items())
    return f'composite_lora_adapters {{ alias: "{alias}" {parts} }}\n'


def tiny(folder: Path, more: str = "") -> Path:
    """A servable of the tiny SD model."""
    return write_graph(folder, MODELS / "sd", steps=2, more=more)


def ask(service: Service, model: str | None, operation: Operation = Operation.GENERATION, **fields: Any) -> Any:
    """Send a request for the image that ``raw_image`` draws."""
    body = {**ASKED, **({} if model is None else {"model": model}), **fields}
    inputs = make_inputs(operation)
    if inputs is None:
        return service.http.post("/v3/images/generations", json=body)
    files = {"image": ("image.png", image_bytes(Image.fromarray(inputs.image)), "image/png")}
    if inputs.mask is not None:
        files["mask"] = ("mask.png", image_bytes(Image.fromarray(inputs.mask)), "image/png")
    form = {name: json.dumps(value) if isinstance(value, dict) else str(value) for name, value in body.items()}
    return service.http.post("/v3/images/edits", data={"strength": "0.9", **form}, files=files)


def content(answer: httpx2.Response) -> bytes:
    """The image of an answer as the bytes that were sent."""
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def served_image(
    service: Service, model: str | None, operation: Operation = Operation.GENERATION, **fields: Any
) -> Pixels:
    return pixels(content(ask(service, model, operation, **fields)))


def assert_raw(
    drawn: Pixels,
    blend: Blend = (),
    operation: Operation = Operation.GENERATION,
    mode: Any = MODES.MODE_DYNAMIC,
) -> None:
    """The image is the one GenAI draws with these adapters alone."""
    np.testing.assert_array_equal(drawn, raw_image("sd", blend, operation=operation, mode=mode))


def refused(answer: httpx2.Response, status: int = 400) -> dict[str, Any]:
    """The error of a refusal."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


def listed(service: Service) -> dict[str, tuple[str, str, dict[str, float]]]:
    """Kind, base and adapters of every listed model."""
    models = service.http.get("/v3/models").json()["data"]
    own = [model for model in models if model["alias_of"] is None]
    return {model["id"]: (model["kind"], model["base"], model["adapters"]) for model in own}
