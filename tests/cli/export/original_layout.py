"""The names and shapes of the weights of original checkpoints (CompVis, Stability AI), of any width.

``full`` gives those of a kind as people have them; ``reduced`` the same layers with few numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

Shapes = dict[str, list[int]]
_RESIDUALS = 2


@dataclass(frozen=True)
class Widths:
    """The widths of one kind: of its UNet, of its VAE and of its text encoders (width and layers)."""

    unet: int
    multiples: tuple[int, ...]
    depths: tuple[int, ...]
    context: int
    vae: int
    clip: tuple[int, int] | None
    open_clip: tuple[int, int] | None
    vector: int | None = None
    has_linear_projections: bool = True
    words: int = 49408
    in_channels: int = 4
    prefixes: dict[str, str] = field(default_factory=dict)


_XL_PREFIXES = {"clip": "conditioner.embedders.0.transformer.", "open_clip": "conditioner.embedders.1.model."}
FULL = {
    "sd15": Widths(320, (1, 2, 4, 4), (1, 1, 1, 0), 768, 128, (768, 12), None, has_linear_projections=False),
    "sd2": Widths(320, (1, 2, 4, 4), (1, 1, 1, 0), 1024, 128, None, (1024, 24)),
    "sdxl": Widths(320, (1, 2, 4), (0, 2, 10), 2048, 128, (768, 12), (1280, 32), 2816, prefixes=_XL_PREFIXES),
}
REDUCED = {
    "sd15": Widths(32, (1, 2, 4, 4), (1, 1, 1, 0), 48, 32, (48, 2), None, has_linear_projections=False),
    "sd2": Widths(32, (1, 2, 4, 4), (1, 1, 1, 0), 64, 32, None, (64, 24)),
    "sdxl": Widths(32, (1, 2, 4), (0, 2, 3), 112, 32, (48, 2), (64, 3), 64 + 6 * 32, prefixes=_XL_PREFIXES),
}


def layout(widths: Widths) -> Shapes:
    """Return the shape of each weight by its name."""
    shapes = {f"model.diffusion_model.{name}": shape for name, shape in _unet(widths)}
    shapes |= {f"first_stage_model.{name}": shape for name, shape in _vae(widths.vae)}
    if widths.clip:
        prefix = widths.prefixes.get("clip", "cond_stage_model.transformer.")
        shapes |= {prefix + name: shape for name, shape in _clip(*widths.clip, widths.words)}
    if widths.open_clip:
        prefix = widths.prefixes.get("open_clip", "cond_stage_model.model.")
        shapes |= {prefix + name: shape for name, shape in _open_clip(*widths.open_clip, widths.words)}
    return shapes


def _unet(widths: Widths) -> Iterator[tuple[str, list[int]]]:
    first = widths.unet
    time = 4 * first
    yield from _layer("time_embed.0", [time, first])
    yield from _layer("time_embed.2", [time, time])
    if widths.vector:
        yield from _layer("label_emb.0.0", [time, widths.vector])
        yield from _layer("label_emb.0.2", [time, time])
    yield from _layer("input_blocks.0.0", [first, widths.in_channels, 3, 3])
    skipped = [first]
    width = first
    number = 1
    for level, (multiple, depth) in enumerate(zip(widths.multiples, widths.depths, strict=True)):
        for _ in range(_RESIDUALS):
            yield from _residual(f"input_blocks.{number}.0", width, multiple * first, time)
            width = multiple * first
            yield from _transformer(f"input_blocks.{number}.1", width, depth, widths)
            skipped.append(width)
            number += 1
        if level < len(widths.multiples) - 1:
            yield from _layer(f"input_blocks.{number}.0.op", [width, width, 3, 3])
            skipped.append(width)
            number += 1
    yield from _residual("middle_block.0", width, width, time)
    yield from _transformer("middle_block.1", width, widths.depths[-1] or 1, widths)
    yield from _residual("middle_block.2", width, width, time)
    yield from _up(widths, width, skipped, time)
    yield from _norm("out.0", first)
    yield from _layer("out.2", [4, first, 3, 3])


def _up(widths: Widths, width: int, skipped: list[int], time: int) -> Iterator[tuple[str, list[int]]]:
    number = 0
    for level in reversed(range(len(widths.multiples))):
        depth = widths.depths[level]
        for block in range(_RESIDUALS + 1):
            out = widths.multiples[level] * widths.unet
            yield from _residual(f"output_blocks.{number}.0", width + skipped.pop(), out, time)
            width = out
            yield from _transformer(f"output_blocks.{number}.1", width, depth, widths)
            if level and block == _RESIDUALS:
                yield from _layer(f"output_blocks.{number}.{2 if depth else 1}.conv", [width, width, 3, 3])
            number += 1


def _residual(name: str, width: int, out: int, time: int) -> Iterator[tuple[str, list[int]]]:
    yield from _norm(f"{name}.in_layers.0", width)
    yield from _layer(f"{name}.in_layers.2", [out, width, 3, 3])
    yield from _layer(f"{name}.emb_layers.1", [out, time])
    yield from _norm(f"{name}.out_layers.0", out)
    yield from _layer(f"{name}.out_layers.3", [out, out, 3, 3])
    if width != out:
        yield from _layer(f"{name}.skip_connection", [out, width, 1, 1])


def _transformer(name: str, width: int, depth: int, widths: Widths) -> Iterator[tuple[str, list[int]]]:
    if not depth:
        return
    projection = [width, width] if widths.has_linear_projections else [width, width, 1, 1]
    yield from _norm(f"{name}.norm", width)
    yield from _layer(f"{name}.proj_in", projection)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, context in (("attn1", width), ("attn2", widths.context)):
            yield f"{block}.{attention}.to_q.weight", [width, width]
            yield f"{block}.{attention}.to_k.weight", [width, context]
            yield f"{block}.{attention}.to_v.weight", [width, context]
            yield from _layer(f"{block}.{attention}.to_out.0", [width, width])
        yield from _layer(f"{block}.ff.net.0.proj", [8 * width, width])
        yield from _layer(f"{block}.ff.net.2", [width, 4 * width])
        for norm in ("norm1", "norm2", "norm3"):
            yield from _norm(f"{block}.{norm}", width)
    yield from _layer(f"{name}.proj_out", projection)


def _vae(first: int) -> Iterator[tuple[str, list[int]]]:
    widths = [first, 2 * first, 4 * first, 4 * first]
    last = widths[-1]
    yield from _layer("quant_conv", [8, 8, 1, 1])
    yield from _layer("post_quant_conv", [4, 4, 1, 1])
    for side, near, far in (("encoder", 3, 8), ("decoder", 4, 3)):
        yield from _layer(f"{side}.conv_in", [first if side == "encoder" else last, near, 3, 3])
        for block in ("block_1", "block_2"):
            yield from _vae_residual(f"{side}.mid.{block}", last, last)
        yield from _norm(f"{side}.mid.attn_1.norm", last)
        for projection in ("q", "k", "v", "proj_out"):
            yield from _layer(f"{side}.mid.attn_1.{projection}", [last, last, 1, 1])
        ends = first if side == "decoder" else last
        yield from _norm(f"{side}.norm_out", ends)
        yield from _layer(f"{side}.conv_out", [far, ends, 3, 3])
    width = first
    for level, out in enumerate(widths):
        for number in range(2):
            yield from _vae_residual(f"encoder.down.{level}.block.{number}", width, out)
            width = out
        if level < len(widths) - 1:
            yield from _layer(f"encoder.down.{level}.downsample.conv", [out, out, 3, 3])
    for level, out in reversed(list(enumerate(widths))):
        for number in range(3):
            yield from _vae_residual(f"decoder.up.{level}.block.{number}", width, out)
            width = out
        if level:
            yield from _layer(f"decoder.up.{level}.upsample.conv", [out, out, 3, 3])


def _vae_residual(name: str, width: int, out: int) -> Iterator[tuple[str, list[int]]]:
    yield from _norm(f"{name}.norm1", width)
    yield from _layer(f"{name}.conv1", [out, width, 3, 3])
    yield from _norm(f"{name}.norm2", out)
    yield from _layer(f"{name}.conv2", [out, out, 3, 3])
    if width != out:
        yield from _layer(f"{name}.nin_shortcut", [out, width, 1, 1])


def _clip(width: int, layers: int, words: int) -> Iterator[tuple[str, list[int]]]:
    yield "text_model.embeddings.token_embedding.weight", [words, width]
    yield "text_model.embeddings.position_embedding.weight", [77, width]
    for number in range(layers):
        layer = f"text_model.encoder.layers.{number}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _layer(f"{layer}.self_attn.{projection}", [width, width])
        yield from _norm(f"{layer}.layer_norm1", width)
        yield from _norm(f"{layer}.layer_norm2", width)
        yield from _layer(f"{layer}.mlp.fc1", [4 * width, width])
        yield from _layer(f"{layer}.mlp.fc2", [width, 4 * width])
    yield from _norm("text_model.final_layer_norm", width)


def _open_clip(width: int, layers: int, words: int) -> Iterator[tuple[str, list[int]]]:
    yield "positional_embedding", [77, width]
    yield "token_embedding.weight", [words, width]
    yield "text_projection", [width, width]
    yield "logit_scale", []
    for number in range(layers):
        block = f"transformer.resblocks.{number}"
        yield f"{block}.attn.in_proj_weight", [3 * width, width]
        yield f"{block}.attn.in_proj_bias", [3 * width]
        yield from _layer(f"{block}.attn.out_proj", [width, width])
        yield from _norm(f"{block}.ln_1", width)
        yield from _norm(f"{block}.ln_2", width)
        yield from _layer(f"{block}.mlp.c_fc", [4 * width, width])
        yield from _layer(f"{block}.mlp.c_proj", [width, 4 * width])
    yield from _norm("ln_final", width)


def _layer(name: str, shape: list[int]) -> Iterator[tuple[str, list[int]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _norm(name: str, width: int) -> Iterator[tuple[str, list[int]]]:
    yield from _layer(name, [width])
