"""Repositories with models of PyTorch: which files are brought, and what becomes of them around the conversion."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import DownloadSettings
from graphs.errors import ConfigurationError
from tests.cli.export.export_support import write_source
from tests.support.hub import COMMIT, Fault, HubStandIn, hub_stand_in
from tests.workers.sources.models.pull_support import Recorder, View, files_below
from workers.sources.models.choice import choose_files
from workers.sources.models.pull import Pulled, pull_and_convert, pull_model
from workers.sources.models.source import parse_model_source

NAME = "org/dream"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": [None, None],
    **{part: ["diffusers", "Any"] for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")},
}
TEXTS = [
    *("model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "tokenizer/merges.txt"),
    *("tokenizer/vocab.json", "unet/config.json", "vae/config.json"),
]
SURPLUS = [
    *("README.md", "dream.safetensors", "dream.ckpt", "safety_checker/model.safetensors", "unet/model.onnx"),
    *("unet/diffusion_pytorch_model.bin", "unet/diffusion_flax_model.msgpack", "text_encoder/flax_model.msgpack"),
    *("unet/diffusion_pytorch_model.non_ema.safetensors", "unet/more/config.json", "text_encoder/openvino_model.xml"),
    "text_encoder/pytorch_model.bin.index.json",
]
UNET = "unet/diffusion_pytorch_model"
PLAIN = [f"{UNET}.safetensors", "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]
HALF = [name.replace(".safetensors", ".fp16.safetensors") for name in PLAIN]
SHARDS = [f"{UNET}-0000{n}-of-00002.safetensors" for n in (1, 2)]
HALF_SHARDS = [f"{UNET}.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
OLD_HALF_SHARDS = [f"{UNET}-0000{n}-of-00002.fp16.safetensors" for n in (1, 2)]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("held", "brought"),
    [
        pytest.param([*PLAIN, *HALF], PLAIN, id="the plain ones"),
        pytest.param(HALF, HALF, id="fp16 alone"),
        pytest.param([HALF[0], *PLAIN[1:], *HALF[1:]], HALF, id="one variant for all parts, where it can be"),
        pytest.param([HALF[0], *PLAIN[1:]], [HALF[0], *PLAIN[1:]], id="of each part what it has"),
        pytest.param(
            [*SHARDS, f"{UNET}.safetensors.index.json", *HALF, *PLAIN[1:]],
            [*SHARDS, f"{UNET}.safetensors.index.json", *PLAIN[1:]],
            id="several files",
        ),
        pytest.param(
            [*SHARDS, f"{UNET}.safetensors.index.json", *PLAIN], PLAIN, id="one whole file rather than several"
        ),
        pytest.param(
            [*HALF_SHARDS, f"{UNET}.safetensors.index.fp16.json", *HALF[1:]],
            [*HALF_SHARDS, f"{UNET}.safetensors.index.fp16.json", *HALF[1:]],
            id="several files in fp16",
        ),
        pytest.param(
            [*OLD_HALF_SHARDS, f"{UNET}.fp16.safetensors.index.json", *HALF[1:]],
            [*OLD_HALF_SHARDS, f"{UNET}.fp16.safetensors.index.json", *HALF[1:]],
            id="several files in fp16, as older releases name them",
        ),
    ],
)
def test_the_weights_are_brought_in_one_variant(held: list[str], brought: list[str]) -> None:
    choice = choose_files(NAME, json.dumps(INDEX).encode(), [*TEXTS, *SURPLUS, *held])
    assert choice.is_torch
    assert choice.files == sorted([*TEXTS, *brought])
    assert choice.weights == sorted(name for name in brought if name.endswith(".safetensors"))


@pytest.mark.fast
@pytest.mark.parametrize("left_out", PLAIN)
def test_a_network_without_safetensors_is_not_converted(left_out: str) -> None:
    held = [name for name in PLAIN if name != left_out]
    with pytest.raises(ConfigurationError, match=r"have no \.safetensors files that could be converted"):
        choose_files(NAME, json.dumps(INDEX).encode(), [*TEXTS, *SURPLUS, *held])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with hub_stand_in() as running:
        running.add(NAME, _source(tmp_path / "source"))
        running.repositories[NAME].files |= {"README.md": b"# dream", "unet/diffusion_pytorch_model.bin": b"pickled"}
        yield running


def _source(folder: Path) -> Path:
    write_source(folder)
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    return folder


FILES = sorted([*(text for text in TEXTS if not text.endswith("merges.txt")), *PLAIN])


def pull(
    hub: HubStandIn, root: Path, converter: Recorder, view: View | None = None, name: str = NAME, **more: object
) -> Pulled:
    settings = DownloadSettings.model_validate({"hf_endpoint": hub.url, "timeout_s": 5, **more})
    return pull_model(parse_model_source(name), root, settings, view or View(), converter)


def test_what_is_converted_is_checked_before_its_weights_come_and_removed_at_the_end(
    hub: HubStandIn, tmp_path: Path
) -> None:
    converter = Recorder()
    pulled = pull(hub, tmp_path / "models", converter)
    assert pulled == Pulled(tmp_path / "models" / NAME, is_new=True, is_converted=True)
    sizes = {name: len(hub.repositories[NAME].files[name]) for name in PLAIN}
    assert converter.checked == {name.partition("/")[0]: size for name, size in sizes.items()}
    assert converter.left_bytes == sum(sizes.values())
    assert converter.before == [name for name in FILES if name not in PLAIN]
    assert (converter.converted, converter.model) == (FILES, f"{NAME}@{COMMIT}")
    assert [path.name for path in (tmp_path / "models" / "org").iterdir()] == ["dream"]
    asked = len(hub.requests)
    again = Recorder()
    assert not pull(hub, tmp_path / "models", again).is_new
    assert (len(hub.requests), again.checked) == (asked, {})


def test_after_a_failure_nothing_is_fetched_again(hub: HubStandIn, tmp_path: Path) -> None:
    view = View()
    with pytest.raises(RuntimeError, match="too little memory"):
        pull(hub, tmp_path, Recorder(failure=RuntimeError("too little memory")), view)
    stage = tmp_path / "org" / ".dream.part"
    assert view.said == [f"what was fetched is kept in {stage}; the same command goes on from there"]
    asked = len(hub.requests)
    converter = Recorder()
    assert pull(hub, tmp_path, converter).is_converted
    assert (len(hub.requests), converter.left_bytes, converter.converted) == (asked, 0, FILES)
    assert not stage.exists()


def test_a_refusal_before_the_weights_fetches_none(hub: HubStandIn, tmp_path: Path) -> None:
    class Refusing(Recorder):
        def check(self, *_: object) -> None:
            raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        pull(hub, tmp_path, Refusing())
    assert not [name for name in hub.sent if name in PLAIN]


def test_files_of_another_commit_are_not_taken(hub: HubStandIn, tmp_path: Path) -> None:
    """They have the same sizes."""
    with pytest.raises(RuntimeError):
        pull(hub, tmp_path, Recorder(failure=RuntimeError()))
    repository = hub.repositories[NAME]
    repository.commit = "f" * 40
    body = repository.files[PLAIN[0]]
    repository.files[PLAIN[0]] = body[:-1] + b"\x01"
    converter = Recorder(failure=RuntimeError())
    with pytest.raises(RuntimeError):
        pull(hub, tmp_path, converter, name=f"{NAME}@v2")
    assert (tmp_path / "org" / ".dream.part" / PLAIN[0]).read_bytes() == repository.files[PLAIN[0]]
    assert converter.model == f"{NAME}@{repository.commit}"


def test_weights_that_are_not_those_of_the_listing_are_refused(hub: HubStandIn, tmp_path: Path) -> None:
    body = hub.repositories[NAME].files[PLAIN[0]]
    pull(hub, tmp_path / "first", Recorder())
    hub.faults = [Fault("/lfs/", cut_after=10)]
    pull(hub, tmp_path / "second", Recorder())
    assert hub.bytes_sent(PLAIN[0]) + hub.bytes_sent(PLAIN[1]) + hub.bytes_sent(PLAIN[2]) >= 6 * len(body)


def test_what_a_killed_process_left_of_a_finished_conversion_is_removed(hub: HubStandIn, tmp_path: Path) -> None:
    stage = tmp_path / "org" / ".dream.part"
    with pytest.raises(RuntimeError):
        pull(hub, tmp_path, Recorder(failure=RuntimeError()))
    target = tmp_path / "org" / "dream"
    target.mkdir()
    (target / "model_index.json").write_text("{}")
    assert not pull(hub, tmp_path, Recorder()).is_new
    assert not stage.exists()


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "unreachable"])
def test_the_cache_of_hugging_face_is_enough(hub: HubStandIn, tmp_path: Path, offline: bool) -> None:
    cache = tmp_path / "hub" / "models--org--dream"
    snapshot = _source(cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    converter, view = Recorder(), View()
    address = hub.url if offline else "http://127.0.0.1:9"
    assert pull(hub, tmp_path / "models", converter, view, offline=offline, hf_endpoint=address).is_converted
    assert converter.converted == FILES
    assert view.said == [f"taken from the cache of Hugging Face: {snapshot}"]
    (snapshot / PLAIN[0]).unlink()
    with pytest.raises(ConfigurationError, match=r"HF_HUB_OFFLINE|cannot be reached"):
        pull(hub, tmp_path / "others", converter, view, offline=offline, hf_endpoint=address)


def test_export_takes_no_model_in_openvino_form(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("org/ready", Path(__file__).parents[3] / "models" / "sd")
    settings = DownloadSettings.model_validate({"hf_endpoint": hub.url})
    with pytest.raises(ConfigurationError, match=r"in OpenVINO's form already: `imagegen pull org/ready` fetches it"):
        pull_and_convert(parse_model_source("org/ready"), tmp_path, tmp_path / "target", settings, View(), Recorder())
    pull_and_convert(parse_model_source(NAME), tmp_path, tmp_path / "target", settings, View(), Recorder())
    assert files_below(tmp_path / "target") == ["model_index.json"]
