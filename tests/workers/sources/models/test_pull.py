"""Models from Hugging Face: the real huggingface_hub, and a stand-in of the Hub and of its CDN."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import DownloadSettings
from graphs.errors import ConfigurationError
from tests.support.hub import COMMIT, Fault, HubStandIn, hub_stand_in
from tests.workers.sources.models.pull_support import Recorder, View
from workers.sources.models.pull import Pulled, pull_model
from workers.sources.models.source import parse_model_source
from workers.sources.models.staging import locked

NAME = "OpenVINO/tiny-sd-int8-ov"
MODEL = Path(__file__).parents[3] / "models" / "sd"
BIN = "unet/openvino_model.bin"


@pytest.fixture
def hub() -> Iterator[HubStandIn]:
    with hub_stand_in() as running:
        running.add(NAME, MODEL)
        repository = running.repositories[NAME]
        repository.files |= {
            "README.md": b"# tiny",
            "unet/diffusion_pytorch_model.safetensors": b"torch",
            "safety_checker/openvino_model.bin": b"not run here",
            "samples/cat.png": b"png",
        }
        yield running


def pull(hub: HubStandIn, root: Path, name: str = NAME, view: View | None = None, **more: Any) -> Pulled:
    overwrite = bool(more.pop("overwrite", False))
    settings = DownloadSettings.model_validate({"hf_endpoint": hub.url, "timeout_s": 5, **more})
    return pull_model(parse_model_source(name), root, settings, view or View(), Recorder(), overwrite=overwrite)


def refusal(hub: HubStandIn, root: Path, name: str = NAME, **more: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        pull(hub, root, name, **more)
    sentence = str(refused.value)
    assert sentence.endswith(".") and "\n" not in sentence
    assert not (root / name.partition("@")[0]).exists()
    return sentence


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_what_serving_needs_is_fetched_and_appears_when_it_is_whole(hub: HubStandIn, tmp_path: Path) -> None:
    view = View()
    pulled = pull(hub, tmp_path / "models", view=view)
    assert (pulled.folder, pulled.is_new) == (tmp_path / "models" / NAME, True)
    assert files_of(pulled.folder) == files_of(MODEL)
    assert [path.name for path in pulled.folder.parent.iterdir()] == [pulled.folder.name]
    assert view.done[-1] == view.total_bytes == sum(map(len, files_of(MODEL).values()))
    assert view.done == sorted(view.done)
    assert [
        path for _, path in hub.requests if not path.startswith((f"/api/models/{NAME}", f"/{NAME}/", "/lfs/"))
    ] == []
    asked = len(hub.requests)
    assert not pull(hub, tmp_path / "models").is_new
    assert len(hub.requests) == asked, "what is there is asked for again"


def test_what_breaks_off_goes_on(hub: HubStandIn, tmp_path: Path) -> None:
    """No byte comes twice, also where the CDN's ETag is another one each time."""
    body = hub.repositories[NAME].files[BIN]
    hub.etag_changes = True
    digest = hashlib.sha256(body).hexdigest()
    hub.faults = [Fault(digest, cut_after=100_000), Fault(digest, cut_after=50_000), Fault(digest, cut_after=7)]
    folder = pull(hub, tmp_path).folder
    assert files_of(folder) == files_of(MODEL)
    assert hub.sent[BIN] == [(0, 100_000), (100_000, 50_000), (150_000, 7), (150_007, len(body) - 150_007)]


def test_a_server_without_time_is_asked_again(hub: HubStandIn, tmp_path: Path) -> None:
    hub.faults = [
        Fault("/api/models", status=503, times=2),
        Fault("/lfs/", status=429, headers={"Retry-After": "0"}),
        Fault("/lfs/", status=502, times=3),
        Fault("/resolve/", status=500),
    ]
    view = View()
    assert files_of(pull(hub, tmp_path, view=view).folder) == files_of(MODEL)
    assert len([line for line in view.said if "trying again in" in line]) == 7
    hub.faults = [Fault("/lfs/", status=503, times=100)]
    assert "status 503" in refusal(hub, tmp_path / "other")


def test_an_attempt_goes_on_with_the_commit_that_it_began_with(hub: HubStandIn, tmp_path: Path) -> None:
    digest = hashlib.sha256(hub.repositories[NAME].files[BIN]).hexdigest()
    hub.faults = [Fault(digest, status=403)]
    assert "set HF_TOKEN to a token that may read this repository" in refusal(hub, tmp_path)
    hub.repositories[NAME].commit = "f" * 40
    hub.requests.clear()
    assert files_of(pull(hub, tmp_path).folder) == files_of(MODEL)
    asked = {path for _, path in hub.requests if "/resolve/" in path}
    assert asked and all(f"/resolve/{COMMIT}/" in path for path in asked)
    assert not [path for _, path in hub.requests if path.startswith("/api/")]


def test_bytes_that_are_not_those_of_the_listing_are_fetched_once_more(hub: HubStandIn, tmp_path: Path) -> None:
    stage = tmp_path / "OpenVINO" / ".tiny-sd-int8-ov.part" / "unet"
    stage.mkdir(parents=True)
    (stage / "openvino_model.bin.part").write_bytes(b"of an older version")
    view = View()
    assert files_of(pull(hub, tmp_path, view=view).folder) == files_of(MODEL)
    assert [line for line in view.said if "is fetched once more" in line and "SHA-256" in line]
    assert hub.sent[BIN][-1] == (0, len(hub.repositories[NAME].files[BIN]))


def test_what_the_cache_holds_is_not_fetched_and_outlives_the_cache(hub: HubStandIn, tmp_path: Path) -> None:
    cache = tmp_path / "hub" / f"models--{NAME.replace('/', '--')}"
    body = hub.repositories[NAME].files[BIN]
    blob = cache / "blobs" / hashlib.sha256(body).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.write_bytes(body)
    folder = pull(hub, tmp_path / "models").folder
    assert hub.bytes_sent(BIN) == 0
    assert (folder / BIN).samefile(blob) and not (folder / BIN).is_symlink()
    shutil.rmtree(cache)
    assert files_of(folder) == files_of(MODEL)


def test_a_whole_snapshot_of_the_cache_needs_no_network(hub: HubStandIn, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / f"models--{NAME.replace('/', '--')}" / "snapshots" / COMMIT
    shutil.copytree(MODEL, snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    view = View()
    assert files_of(pull(hub, tmp_path / "models", view=view, offline=True).folder) == files_of(MODEL)
    assert hub.requests == []
    assert view.said == [f"taken from the cache of Hugging Face: {snapshot}"]
    (snapshot / BIN).unlink()
    assert "HF_HUB_OFFLINE forbids" in refusal(hub, tmp_path / "others", offline=True)


def test_a_revision(hub: HubStandIn, tmp_path: Path) -> None:
    assert pull(hub, tmp_path, f"{NAME}@v1.0").folder == tmp_path / NAME
    assert f"/api/models/{NAME}/revision/v1.0" in {path for _, path in hub.requests}


def test_overwriting_replaces_the_folder(hub: HubStandIn, tmp_path: Path) -> None:
    folder = pull(hub, tmp_path).folder
    (folder / "graph.pbtxt").write_text("mine")
    (folder / BIN).write_bytes(b"broken")
    assert pull(hub, tmp_path, overwrite=True).is_new
    assert files_of(folder) == files_of(MODEL)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_that_is_no_model_is_not_replaced(hub: HubStandIn, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir(parents=True)
    (tmp_path / NAME / "notes.txt").write_text("mine")
    with pytest.raises(
        ConfigurationError, match=r"has no model_index\.json: remove it, or replace it with --overwrite"
    ):
        pull(hub, tmp_path)
    assert (tmp_path / NAME / "notes.txt").read_text() == "mine"


def test_who_may_read_what(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("org/private", MODEL, is_private=True)
    hub.add("org/gated", MODEL, is_gated=True)
    hub.add("org/old", MODEL, renamed_to=NAME)
    assert "has no repository org/none, or it is private: then set HF_TOKEN" in refusal(hub, tmp_path, "org/none")
    assert "or it is private" in refusal(hub, tmp_path, "org/private")
    assert pull(hub, tmp_path, "org/private", hf_token="hf_good").is_new
    assert "set HF_TOKEN to a token that may read this repository" in refusal(hub, tmp_path, "org/gated")
    assert pull(hub, tmp_path, "org/gated", hf_token="hf_good").is_new
    view = View()
    assert pull(hub, tmp_path, "org/old", view).folder == tmp_path / "org" / "old"
    assert f"org/old is called {NAME} now" in " ".join(view.said)
    wrong = "does not know the token in HF_TOKEN"
    assert wrong in refusal(hub, tmp_path / "private", "org/private", hf_token="hf_wrong")
    assert pull(hub, tmp_path, view=view, hf_token="hf_wrong").is_new
    assert f"the token in HF_TOKEN is not valid; {NAME} is public" in " ".join(view.said)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "is no image generation model in diffusers' form: it has no model_index.json, and it has another form"),
        ({"config.json": b"{}", "openvino_language_model.xml": b""}, "it looks like a language model"),
        ({"style.safetensors": b""}, "it looks like an adapter, or a single checkpoint"),
        ({"model_index.json": b"[1"}, "is not JSON"),
        ({"model_index.json": b"[1]"}, "is not a JSON object"),
        (
            {
                "model_index.json": json.dumps({"unet": ["diffusers", "UNet2DConditionModel"]}).encode(),
                "unet/diffusion_pytorch_model.bin": b"",
            },
            "could be converted: it has no unet/openvino_model.xml (unet/diffusion_pytorch_model.bin).",
        ),
    ],
)
def test_repositories_of_another_kind(files: dict[str, bytes], sentence: str, hub: HubStandIn, tmp_path: Path) -> None:
    hub.repositories["org/other"] = hub.add("org/other", MODEL)
    hub.repositories["org/other"].files = files
    assert sentence in refusal(hub, tmp_path, "org/other")


def test_a_pipeline_that_is_not_known_does_not_appear(hub: HubStandIn, tmp_path: Path) -> None:
    files = hub.repositories[NAME].files
    files["model_index.json"] = files["model_index.json"].replace(b"StableDiffusionPipeline", b"AudioLDMPipeline")
    assert "'AudioLDMPipeline', which is no image pipeline that this server knows" in refusal(hub, tmp_path)


def test_a_disk_without_room(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**30, 2**30 - 2**20, 2**20))
    assert "MiB more on the disk of" in refusal(hub, tmp_path)


def test_two_processes_do_not_pull_one_model_at_once(hub: HubStandIn, tmp_path: Path) -> None:
    with locked(tmp_path / "OpenVINO" / ".tiny-sd-int8-ov.part"):
        assert "another process pulls this model" in refusal(hub, tmp_path)


@pytest.mark.parametrize("text", ["", "sd", "a/b/c", "../x", "org/name@", "https://example.com/a/b", "org//x"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"org/name|names no revision"):
        parse_model_source(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("org/name", "org/name"),
        (" org/name@v1 ", "org/name@v1"),
        ("https://huggingface.co/org/name", "org/name"),
        ("https://huggingface.co/org/name/tree/dev/", "org/name@dev"),
    ],
)
def test_names(text: str, written: str) -> None:
    assert str(parse_model_source(text)) == written
