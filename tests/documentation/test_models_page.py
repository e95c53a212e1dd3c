"""docs/models.md computes disk and memory as the code does, and names what the table of lines names."""

import json
import re
from pathlib import Path

import pytest

from graphs.families.registry import BY_CLASS_NAME
from graphs.repository.model_memory import read_memory_need
from graphs.resolution import Resolution
from tests.documentation.blocks import ROOT
from tests.documentation.model_server_lines import ADAPTERS, EXPORTED, OF_TORCH, REPOSITORIES

PAGE = (ROOT / "docs" / "models.md").read_text()
_ROW = re.compile(r"^\| ([^|]+) \| ([\d,]+), ([\d,]+) \| (\d+x\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
_GIB = 2**30
# Bytes of a weight of the denoiser and of the other parts, with the type that the files name.
_PRECISIONS = {"fp16": (2.0, 2.0, "f16"), "int8": (1.0, 1.0, "u8"), "int4": (0.55, 1.0, "u4")}


@pytest.mark.parametrize("row", _ROW.findall(PAGE), ids=lambda row: row[0])
def test_the_numbers_of_a_model(row: tuple[str, ...], tmp_path: Path) -> None:
    _, denoiser, others, size, *shown = row
    counts = [1e6 * int(text.replace(",", "")) for text in (denoiser, others)]
    found: list[list[str]] = [[], [], []]
    for bytes_of_denoiser, bytes_of_others, kind in _PRECISIONS.values():
        sizes = (int(counts[0] * bytes_of_denoiser), int(counts[1] * bytes_of_others))
        _write(tmp_path, sizes, kind)
        drawn = Resolution.parse(size)
        found[0].append(f"{sum(sizes) / _GIB:.1f}")
        for column, compute_bytes in ((1, 2), (2, 4)):
            need = read_memory_need(tmp_path, compute_bytes)
            found[column].append(f"{need.bytes_for(drawn.width, drawn.height) / _GIB:.1f}")
    assert [", ".join(column) for column in found] == shown


def _write(folder: Path, sizes: tuple[int, int], kind: str) -> None:
    for part, size in zip(("unet", "vae_decoder"), sizes, strict=True):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / "openvino_model.xml").write_text(f'<data element_type="{kind}" shape="1" size="{size}"/>')
    (folder / "vae_decoder" / "config.json").write_text(json.dumps({"block_out_channels": [128, 256, 512, 512]}))


def test_there_are_rows() -> None:
    assert len(_ROW.findall(PAGE)) == 6


def test_every_family_and_every_repository_of_the_lines_is_there() -> None:
    names = {*REPOSITORIES, *OF_TORCH, EXPORTED, *ADAPTERS, *BY_CLASS_NAME} - {"user/repo"}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []
