"""Models that consist of the names and shapes of their layers only: all layers of the real architectures.

The widths are those of the published configurations divided by 64, so that the files stay small. An adapter is matched
with the .xml file of a model, which is written here without weights.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from xml.sax.saxutils import quoteattr

# The path of a layer and the shape of its weight: [outputs, inputs], and the sides of a convolution's kernel.
LayerShape = tuple[str, tuple[int, ...]]
_SCALE = 64


def linear(path: str, outputs: int, inputs: int) -> LayerShape:
    return path, (max(1, outputs // _SCALE), max(1, inputs // _SCALE))


def convolution(path: str, outputs: int, inputs: int, side: int = 3) -> LayerShape:
    return path, (max(1, outputs // _SCALE), max(1, inputs // _SCALE), side, side)


@dataclass(frozen=True, kw_only=True)
class Unet:
    """The configuration of diffusers' UNet2DConditionModel with two resnets a block.

    ``channels`` and ``depths``: the width of each block and the number of its transformer layers, none for a block
    without attention; ``context``: the width of the prompt; ``conditions``: the inputs of SDXL's added embedding;
    ``prefix``: what the export puts in front of every path.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    context: int
    linear_projections: bool = False
    conditions: int = 0
    prefix: str = ""

    def layers(self) -> Iterator[LayerShape]:
        parts = (self._outside(), self._down(), self._middle(), self._up())
        return ((f"{self.prefix}{path}", shape) for path, shape in chain.from_iterable(parts))

    @property
    def _time(self) -> int:
        return 4 * self.channels[0]

    def _outside(self) -> Iterator[LayerShape]:
        yield convolution("conv_in", self.channels[0], 4)
        yield linear("time_embedding.linear_1", self._time, self.channels[0])
        yield linear("time_embedding.linear_2", self._time, self._time)
        if self.conditions:
            yield linear("add_embedding.linear_1", self._time, self.conditions)
            yield linear("add_embedding.linear_2", self._time, self._time)
        yield convolution("conv_out", 4, self.channels[0])

    def _down(self) -> Iterator[LayerShape]:
        before = self.channels[0]
        for block, (width, depth) in enumerate(zip(self.channels, self.depths, strict=True)):
            for number in range(2):
                yield from self._resnet(f"down_blocks.{block}.resnets.{number}", width, before)
                before = width
                yield from self._attention(f"down_blocks.{block}.attentions.{number}", width, depth)
            if block < len(self.channels) - 1:
                yield convolution(f"down_blocks.{block}.downsamplers.0.conv", width, width)

    def _middle(self) -> Iterator[LayerShape]:
        width = self.channels[-1]
        yield from self._resnet("mid_block.resnets.0", width, width)
        yield from self._attention("mid_block.attentions.0", width, max(self.depths[-1], 1))
        yield from self._resnet("mid_block.resnets.1", width, width)

    def _up(self) -> Iterator[LayerShape]:
        first = self.channels[0]
        skips = [first, *(width for width in self.channels for _ in range(3))][:-1]
        before = self.channels[-1]
        for block, (width, depth) in enumerate(zip(reversed(self.channels), reversed(self.depths), strict=True)):
            for number in range(3):
                yield from self._resnet(f"up_blocks.{block}.resnets.{number}", width, before + skips.pop())
                before = width
                yield from self._attention(f"up_blocks.{block}.attentions.{number}", width, depth)
            if block < len(self.channels) - 1:
                yield convolution(f"up_blocks.{block}.upsamplers.0.conv", width, width)

    def _resnet(self, path: str, outputs: int, inputs: int) -> Iterator[LayerShape]:
        yield convolution(f"{path}.conv1", outputs, inputs)
        yield linear(f"{path}.time_emb_proj", outputs, self._time)
        yield convolution(f"{path}.conv2", outputs, outputs)
        if inputs != outputs:
            yield convolution(f"{path}.conv_shortcut", outputs, inputs, 1)

    def _attention(self, path: str, width: int, depth: int) -> Iterator[LayerShape]:
        projection = linear if self.linear_projections else partial(convolution, side=1)
        for leaf in ("proj_in", "proj_out")[: 2 if depth else 0]:
            yield projection(f"{path}.{leaf}", width, width)
        for block in (f"{path}.transformer_blocks.{number}" for number in range(depth)):
            for name, inputs in (("attn1", width), ("attn2", self.context)):
                yield from (linear(f"{block}.{name}.{leaf}", width, width) for leaf in ("to_q", "to_out.0"))
                yield from (linear(f"{block}.{name}.{leaf}", width, inputs) for leaf in ("to_k", "to_v"))
            yield linear(f"{block}.ff.net.0.proj", 8 * width, width)
            yield linear(f"{block}.ff.net.2", width, 4 * width)


def clip(width: int, layers: int, *, projection: bool = False, wrapper: str = "text_model.") -> Iterator[LayerShape]:
    """Yield the layers of a CLIP text encoder; ``wrapper``: what the export puts in front of the encoder's layers."""
    for block in (f"{wrapper}encoder.layers.{number}" for number in range(layers)):
        yield from (linear(f"{block}.self_attn.{leaf}", width, width) for leaf in ("q_proj", "k_proj", "v_proj"))
        yield linear(f"{block}.self_attn.out_proj", width, width)
        yield linear(f"{block}.mlp.fc1", 4 * width, width)
        yield linear(f"{block}.mlp.fc2", width, 4 * width)
    if projection:
        yield linear("text_projection", width, width)


def t5() -> Iterator[LayerShape]:
    """Yield the layers of T5 XXL's encoder."""
    for block in (f"encoder.block.{number}.layer" for number in range(24)):
        yield from (linear(f"{block}.0.SelfAttention.{leaf}", 4096, 4096) for leaf in "qkvo")
        yield from (linear(f"{block}.1.DenseReluDense.{leaf}", 10240, 4096) for leaf in ("wi_0", "wi_1"))
        yield linear(f"{block}.1.DenseReluDense.wo", 4096, 10240)


def embedders(names: tuple[str, ...], width: int, pooled: int) -> Iterator[LayerShape]:
    for name in names:
        yield linear(f"time_text_embed.{name}.linear_1", width, pooled if name == "text_embedder" else 256)
        yield linear(f"time_text_embed.{name}.linear_2", width, width)


def joint_block(block: str, width: int, *, has_context_output: bool = True) -> Iterator[LayerShape]:
    yield from (linear(f"{block}.attn.{leaf}", width, width) for leaf in ("to_q", "to_k", "to_v", "to_out.0"))
    yield from (linear(f"{block}.attn.add_{leaf}_proj", width, width) for leaf in "qkv")
    for stream in ("ff", "ff_context")[: 2 if has_context_output else 1]:
        yield linear(f"{block}.{stream}.net.0.proj", 4 * width, width)
        yield linear(f"{block}.{stream}.net.2", width, 4 * width)
    if has_context_output:
        yield linear(f"{block}.attn.to_add_out", width, width)


def flux() -> Iterator[LayerShape]:
    """Yield the layers of FLUX.1 dev's transformer."""
    width = 3072
    yield linear("x_embedder", width, 64)
    yield linear("context_embedder", width, 4096)
    yield from embedders(("timestep_embedder", "guidance_embedder", "text_embedder"), width, 768)
    for block in (f"transformer_blocks.{number}" for number in range(19)):
        yield from joint_block(block, width)
        yield from (linear(f"{block}.{norm}.linear", 6 * width, width) for norm in ("norm1", "norm1_context"))
    for block in (f"single_transformer_blocks.{number}" for number in range(38)):
        yield from (linear(f"{block}.attn.to_{leaf}", width, width) for leaf in "qkv")
        yield linear(f"{block}.norm.linear", 3 * width, width)
        yield linear(f"{block}.proj_mlp", 4 * width, width)
        yield linear(f"{block}.proj_out", width, 5 * width)
    yield linear("norm_out.linear", 2 * width, width)
    yield linear("proj_out", 64, width)


def sd3(*, dual_blocks: int = 0) -> Iterator[LayerShape]:
    """Yield the layers of Stable Diffusion 3 medium, or with dual attention in its first blocks 3.5 medium."""
    width = 1536
    count = 24
    yield convolution("pos_embed.proj", width, 16, 2)
    yield linear("context_embedder", width, 4096)
    yield from embedders(("timestep_embedder", "text_embedder"), width, 2048)
    for number in range(count):
        block = f"transformer_blocks.{number}"
        is_last = number == count - 1
        yield from joint_block(block, width, has_context_output=not is_last)
        yield linear(f"{block}.norm1.linear", (9 if number < dual_blocks else 6) * width, width)
        yield linear(f"{block}.norm1_context.linear", (2 if is_last else 6) * width, width)
        if number < dual_blocks:
            yield from (linear(f"{block}.attn2.{leaf}", width, width) for leaf in ("to_q", "to_k", "to_v", "to_out.0"))
    yield linear("norm_out.linear", 2 * width, width)
    yield linear("proj_out", 64, width)


_Parts = Mapping[str, Callable[[], Iterator[LayerShape]]]


def _sd3_encoders(wrapper: str) -> _Parts:
    return {
        "text_encoder": lambda: clip(768, 12, projection=True, wrapper=wrapper),
        "text_encoder_2": lambda: clip(1280, 32, projection=True, wrapper=wrapper),
        "text_encoder_3": t5,
    }


def architectures(wrapper: str = "text_model.") -> Mapping[str, tuple[str, _Parts]]:
    """Return, by name, the pipeline's class and the layers of each part.

    ``wrapper``: as in ``clip``. Transformers before 5 has a layer of the encoder below ``text_model.``; later ones do
    not, and an export may then have ``model.`` there or nothing.
    """
    sd_channels = (320, 640, 1280, 1280)
    return {
        "SD 1.5": (
            "StableDiffusionPipeline",
            {
                "unet": Unet(channels=sd_channels, depths=(1, 1, 1, 0), context=768).layers,
                "text_encoder": lambda: clip(768, 12, wrapper=wrapper),
            },
        ),
        "SD 2.1": (
            "StableDiffusionPipeline",
            {
                "unet": Unet(channels=sd_channels, depths=(1, 1, 1, 0), context=1024, linear_projections=True).layers,
                "text_encoder": lambda: clip(1024, 23, wrapper=wrapper),
            },
        ),
        "SDXL": (
            "StableDiffusionXLPipeline",
            {
                "unet": Unet(
                    channels=(320, 640, 1280),
                    depths=(0, 2, 10),
                    context=2048,
                    linear_projections=True,
                    conditions=2816,
                    prefix="model.",
                ).layers,
                "text_encoder": lambda: clip(768, 12, wrapper=wrapper),
                "text_encoder_2": lambda: clip(1280, 32, projection=True, wrapper=wrapper),
            },
        ),
        "SD3": ("StableDiffusion3Pipeline", {"transformer": sd3, **_sd3_encoders(wrapper)}),
        "SD3.5": (
            "StableDiffusion3Pipeline",
            {"transformer": lambda: sd3(dual_blocks=13), **_sd3_encoders(wrapper)},
        ),
        "FLUX": (
            "FluxPipeline",
            {"transformer": flux, "text_encoder": lambda: clip(768, 12, wrapper=wrapper), "text_encoder_2": t5},
        ),
    }


def write_model(folder: Path, name: str, wrapper: str = "text_model.") -> Path:
    """Write the model's layers and what tells its family, and return the folder."""
    class_name, parts = architectures(wrapper)[name]
    for part, layers in parts.items():
        _write(folder / part / "openvino_model.xml", _network(layers()))
        _write(folder / part / "config.json", json.dumps({"sample_size": 64}))
    _write(folder / "model_index.json", json.dumps({"_class_name": class_name}))
    _write(folder / "scheduler" / "scheduler_config.json", "{}")
    _write(folder / "vae_decoder" / "config.json", json.dumps({"block_out_channels": [8] * 4}))
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _network(layers: Iterator[LayerShape]) -> str:
    """Return an IR in which every layer reads the same input."""
    operations = ['<layer id="0" name="input" type="Parameter"><output><port id="0"/></output></layer>']
    edges = []
    for number, (path, shape) in enumerate(layers):
        weight, operation = 2 * number + 1, 2 * number + 2
        ports = "".join(f"<dim>{dim}</dim>" for dim in shape)
        kind = "MatMul" if len(shape) == 2 else "Convolution"
        name = quoteattr(f"__module.{path}/{kind}")
        operations += [
            f'<layer id="{weight}" name="w{number}" type="Const"><data element_type="f16"/>'
            '<output><port id="0"/></output></layer>',
            f'<layer id="{operation}" name={name} type="{kind}"><data transpose_b="true"/>'
            f'<input><port id="0"/><port id="1">{ports}</port></input><output><port id="2"/></output></layer>',
        ]
        edges += [
            f'<edge from-layer="0" from-port="0" to-layer="{operation}" to-port="0"/>',
            f'<edge from-layer="{weight}" from-port="0" to-layer="{operation}" to-port="1"/>',
        ]
    return f'<net version="11"><layers>{"".join(operations)}</layers><edges>{"".join(edges)}</edges></net>'
