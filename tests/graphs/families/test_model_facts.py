import json
from pathlib import Path
from typing import Any

import pytest

from graphs.errors import RepositoryError
from graphs.families.family import Family
from graphs.families.flux import FLUX
from graphs.families.flux_fill import FLUX_FILL
from graphs.families.lcm import LCM
from graphs.families.model_facts import read_model_facts
from graphs.families.sd import SD
from graphs.families.sd3 import SD3
from graphs.families.sdxl import SDXL
from graphs.repository.bundled import bundled_model_path
from graphs.resolution import Resolution
from tests.graphs.definition.graph_files import MODELS

FILES: dict[str, Any] = {
    "model_index.json": {"_class_name": "StableDiffusionPipeline"},
    "scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler"},
    "unet/config.json": {"sample_size": 64},
    "vae_decoder/config.json": {"block_out_channels": [1, 2, 3, 4]},
}


def _model(folder: Path, **changed: Any) -> Path:
    files = FILES | {name.replace("__", "/") + ".json": content for name, content in changed.items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("name", "family", "scheduler", "native"),
    [
        ("sd", SD, "DDIMScheduler", 128),
        ("lcm", LCM, "LCMScheduler", 128),
        ("sdxl", SDXL, "EulerDiscreteScheduler", 128),
        ("sd3", SD3, "FlowMatchEulerDiscreteScheduler", 128),
        ("flux", FLUX, "FlowMatchEulerDiscreteScheduler", 1024),
    ],
)
def test_every_familys_model_is_known(name: str, family: Family, scheduler: str, native: int) -> None:
    facts = read_model_facts(MODELS / name)
    assert (facts.family, facts.scheduler) == (family, scheduler)
    assert (facts.timestep_spacing, facts.num_train_timesteps) == ("leading", 1000)
    assert facts.native_resolution == Resolution(native, native)


def test_the_bundled_model_is_known() -> None:
    facts = read_model_facts(bundled_model_path())
    assert (facts.family, facts.native_resolution) == (SD, Resolution(128, 128))


@pytest.mark.parametrize(
    ("class_name", "family"),
    [
        ("StableDiffusionPipeline", SD),
        ("StableDiffusionInpaintPipeline", SD),
        ("StableDiffusionXLInpaintPipeline", SDXL),
        ("StableDiffusion3Pipeline", SD3),
        ("LatentConsistencyModelPipeline", LCM),
        ("FluxPipeline", FLUX),
        ("FluxFillPipeline", FLUX_FILL),
    ],
)
def test_the_class_name_decides_the_family(tmp_path: Path, class_name: str, family: Family) -> None:
    assert read_model_facts(_model(tmp_path, model_index={"_class_name": class_name})).family is family


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"_class_name": "LTXPipeline"},
        {"_class_name": "StableDiffusionImg2ImgPipeline"},
        {"_class_name": "Flux2KleinPipeline"},
        {"_class_name": None},
        {"_class_name": ["x"]},
    ],
)
def test_another_pipeline_is_refused_with_the_known_ones(tmp_path: Path, index: dict[str, Any]) -> None:
    with pytest.raises(RepositoryError, match=r"model_index\.json: _class_name is .*StableDiffusionXL"):
        read_model_facts(_model(tmp_path, model_index=index))


@pytest.mark.parametrize("name", list(FILES))
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (_model(tmp_path) / name).unlink()
    with pytest.raises(RepositoryError, match=r"no such file.*Is the model complete") as refusal:
        read_model_facts(tmp_path)
    assert str(tmp_path / name) in refusal.value.message


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "is not JSON"), ("", "is not JSON"), ("[" * 100_000, "is not JSON"), ("[]", "must hold a JSON object")],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    (_model(tmp_path) / name).write_text(text)
    with pytest.raises(RepositoryError, match=says) as refusal:
        read_model_facts(tmp_path)
    assert str(tmp_path / name) in refusal.value.message


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (_model(tmp_path) / "unet" / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(RepositoryError, match=r"unet/config\.json: .*not UTF-8"):
        read_model_facts(tmp_path)


@pytest.mark.parametrize(
    ("sample_size", "channels", "native"),
    [
        (64, [1, 2, 3, 4], Resolution(512, 512)),
        ([32, 48], [1, 2, 3, 4], Resolution(384, 256)),
        (64, [1, 2], Resolution(128, 128)),
        (None, None, Resolution(1024, 1024)),
        ("null", None, Resolution(1024, 1024)),
    ],
)
def test_the_native_size_is_the_latents_times_the_vaes_factor(
    tmp_path: Path, sample_size: Any, channels: list[int] | None, native: Resolution
) -> None:
    unet = {} if sample_size is None else {"sample_size": None if sample_size == "null" else sample_size}
    vae = {} if channels is None else {"block_out_channels": channels}
    assert read_model_facts(_model(tmp_path, unet__config=unet, vae_decoder__config=vae)).native_resolution == native


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("unet__config", {"sample_size": "large"}),
        ("unet__config", {"sample_size": []}),
        ("unet__config", {"sample_size": [1, 2, 3]}),
        ("unet__config", {"sample_size": True}),
        ("unet__config", {"sample_size": [64, -64]}),
        ("unet__config", {"sample_size": {"a": 1}}),
        ("unet__config", {"sample_size": 0}),
        ("unet__config", {"sample_size": 10**400}),
        ("vae_decoder__config", {"block_out_channels": [1] * 20_000}),
        ("scheduler__scheduler_config", {"num_train_timesteps": 2**31}),
        ("vae_decoder__config", {"block_out_channels": 4}),
        ("vae_decoder__config", {"block_out_channels": []}),
        ("scheduler__scheduler_config", {"num_train_timesteps": "many"}),
        ("scheduler__scheduler_config", {"num_train_timesteps": 0}),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_file(
    tmp_path: Path, file: str, content: dict[str, Any]
) -> None:
    with pytest.raises(RepositoryError, match=next(iter(content))) as refusal:
        read_model_facts(_model(tmp_path, **{file: content}))
    assert str(tmp_path / file.replace("__", "/")) in refusal.value.message


@pytest.mark.parametrize("scheduler", [{}, {"num_train_timesteps": None}])
def test_a_scheduler_without_values_has_the_usual_ones(tmp_path: Path, scheduler: dict[str, Any]) -> None:
    facts = read_model_facts(_model(tmp_path, scheduler__scheduler_config=scheduler))
    assert (facts.scheduler, facts.timestep_spacing, facts.num_train_timesteps) == ("", "leading", 1000)
