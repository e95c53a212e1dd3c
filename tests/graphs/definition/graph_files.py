"""Graph definitions for the tests: examples of OVMS's documentation, and models directories that contain them."""

from pathlib import Path

EXAMPLE = """\
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"

node: {
  name: "ImageGenExecutor"
  calculator: "ImageGenCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipes"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {
      [type.googleapis.com / mediapipe.ImageGenCalculatorOptions]: {
          models_path: "./"
          device: "CPU"
      }
  }
}
"""
"""The example graph of OVMS's documentation, word for word."""

FUSE_AND_DYNAMIC = """\
# This adapter is permanently merged  always active, not routable
lora_adapters { alias: "style_base" path: "/loras/style.safetensors" alpha: 1.0 mode: FUSE }
# These adapters can be hot-swapped per request via the "model" field
lora_adapters { alias: "pokemon" path: "/loras/pokemon.safetensors" alpha: 1.0 mode: DYNAMIC }
lora_adapters { alias: "anime" path: "/loras/anime.safetensors" alpha: 0.8 mode: DYNAMIC }
"""
"""The LoRA example of OVMS's documentation, word for word."""

MODELS = Path(__file__).parents[2] / "models"
HERE = "# <- here"


def graph_text(options: str) -> str:
    """Return the example with other options in place of its two."""
    lines = [line for line in EXAMPLE.splitlines(keepends=True) if "device:" not in line]
    return "".join(f"{options}\n" if "models_path:" in line else line for line in lines)


def write_graph(folder: Path, text: str = EXAMPLE, *adapters: str) -> Path:
    """Make a models directory with this graph.pbtxt and empty adapter files; return the path of the graph.pbtxt."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text("{}")
    for adapter in adapters:
        (folder / adapter).write_bytes(b"")
    path = folder / "graph.pbtxt"
    path.write_text(text, encoding="utf-8")
    return path


def marked_line(text: str) -> int | None:
    """Return the number of the line that ends with the marker comment, None without one."""
    return next((number for number, line in enumerate(text.splitlines(), 1) if line.endswith(HERE)), None)
