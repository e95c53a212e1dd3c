"""``python -m benchmarks.road MODEL``: from an empty folder to a picture, and again without the network.

A stand-in of Hugging Face on this machine has the model and a LoRA adapter. `imagegen serve --source_model
--source_loras` fetches both, and OpenAI's client asks for pictures. Each line that a person sees is printed with its
time in seconds. Then the server and the stand-in are stopped, and the same command is run again. Beside the time of
each part stands the processor time of all processes of the server, which other load on the machine changes less.
"""

import argparse
import hashlib
import mmap
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
from openai import OpenAI
from safetensors.numpy import save

from benchmarks.machine import machine
from tests.support.hub import StoredRepository, hub_stand_in
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.service import IMAGEGEN, Service

NAME = "stand-in/stable-diffusion-v1-5"
ADAPTER = "stand-in/style"
_RANK = 8
_CHUNK_BYTES = 2**20
_DEADLINE_S = 1800
# The layers of Stable Diffusion 1.5's UNet with attention: block, its attentions, its width.
_BLOCKS = (
    ("down_blocks.0", 2, 320), ("down_blocks.1", 2, 640), ("down_blocks.2", 2, 1280), ("mid_block", 1, 1280),
    ("up_blocks.1", 3, 1280), ("up_blocks.2", 3, 640), ("up_blocks.3", 3, 320),
)  # fmt: skip


def main() -> None:
    """Run both starts and print the times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.road", description=__doc__)
    parser.add_argument("model", type=Path, help="a models directory of Stable Diffusion 1.5's size (make big-model)")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder, hub_stand_in() as hub:
        hub.chunk_bytes = _CHUNK_BYTES
        hub.repositories[NAME] = StoredRepository(dict(_files(given.model)))
        hub.repositories[ADAPTER] = StoredRepository({"style.safetensors": _adapter()})
        size = sum(map(len, hub.repositories[NAME].files.values()))
        httpx2.get(f"{hub.url}/api/models/{NAME}", timeout=60).raise_for_status()  # the stand-in has its digests then
        print(f"{size / 2**20:,.0f} MiB, SHA-256 of all files: {_digest_s(given.model):.1f} s\n\n### first start\n")
        _start(Path(folder), hub.url, given.size, given.steps, names=(NAME, NAME, "style"))
        url = hub.url
        for server in (hub.hub, hub.cdn):
            server.shutdown()
            server.server_close()
        print("\n### second start, without the network\n")
        _start(Path(folder), url, given.size, given.steps, names=(NAME,))


def _files(model: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(path for path in model.rglob("*") if path.is_file() and path.name != "graph.pbtxt"):
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield path.relative_to(model).as_posix(), memoryview(mapped)  # type: ignore[misc]  # sliced without a copy


def _digest_s(model: Path) -> float:
    started = time.perf_counter()
    for path in (path for path in model.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return time.perf_counter() - started


def _adapter() -> bytes:
    """Return an adapter for the attention of every block, as most are trained."""
    generator = np.random.default_rng(7)
    tensors = {}
    for block, attentions, width in _BLOCKS:
        for attention in range(attentions):
            for kind, leaf in ((kind, leaf) for kind in ("attn1", "attn2") for leaf in ("to_q", "to_k", "to_v")):
                inputs = 768 if kind == "attn2" and leaf != "to_q" else width
                layer = f"{block}.attentions.{attention}.transformer_blocks.0.{kind}.{leaf}".replace(".", "_")
                for part, shape in (("down", (_RANK, inputs)), ("up", (width, _RANK))):
                    values = 0.01 * generator.normal(size=shape)
                    tensors[f"lora_unet_{layer}.lora_{part}.weight"] = values.astype(np.float32)
    return save(tensors)


def _start(folder: Path, hub_url: str, size: str, steps: int, names: tuple[str, ...]) -> None:
    started = time.perf_counter()
    with _serving(folder, hub_url, started) as service:
        wait_until(service.is_ready, "ready", deadline_s=_DEADLINE_S)
        print("\n| part | s | processor, s |\n|---|---|---|")
        used = _processor_s(service)
        print(f"| start to ready | {time.perf_counter() - started:.1f} | {used:.1f} |")
        client = OpenAI(base_url=f"{service.url}/v3", api_key="unused", timeout=_DEADLINE_S, max_retries=0)
        for number, name in enumerate(names, 1):
            asked = time.perf_counter()
            drawn = client.images.generate(
                model=name, prompt="a fox", size=size, extra_body={"num_inference_steps": steps, "seed": 7}
            )
            assert drawn.data and drawn.data[0].b64_json
            took = time.perf_counter() - asked
            before = used
            used = _processor_s(service)
            print(f"| picture {number}, {name}, {size}, {steps} steps | {took:.1f} | {used - before:.1f} |", flush=True)
        stopping = time.perf_counter()
    print(f"| stop | {time.perf_counter() - stopping:.1f} | |")


def _processor_s(service: Service) -> float:
    """Return the processor time of the server's processes that run now, with that of their ended children."""
    ticks = 0
    for pid in (service.process.pid, *service.descendants()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _serving(folder: Path, hub_url: str, started: float) -> Iterator[Service]:
    port = free_port()
    command = [*IMAGEGEN, "serve", "--source_model", NAME, "--source_loras", f"style={ADAPTER}"]
    options = ["--rest_port", str(port), "--data_dir", str(folder / "data"), "--model_repository_path"]
    environment = {**os.environ, "HF_ENDPOINT": hub_url, "HF_HOME": str(folder / "hf")}
    process = subprocess.Popen(
        [*command, *options, str(folder / "models")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    reader = threading.Thread(target=_print_lines, args=(process, started, str(folder)))
    reader.start()
    service = Service(process, port, Path(os.devnull))
    try:
        yield service
    finally:
        service.stop()
        reader.join()


def _print_lines(process: "subprocess.Popen[bytes]", started: float, folder: str) -> None:
    for line in process.stdout or ():
        text = line.decode().rstrip().replace(folder, "")
        print(f"    {time.perf_counter() - started:6.1f}  {text}"[:200], flush=True)


if __name__ == "__main__":
    main()
