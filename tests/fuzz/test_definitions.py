"""What operators write, damaged and malicious: always read, or refused with a sentence that names the file."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from graphs.definition.graph import Graph
from graphs.definition.reader import read_graph
from graphs.definition.writer import format_graph
from graphs.errors import ConfigurationError
from graphs.families.model_facts import read_model_facts
from graphs.repository.repository import Repository, load_repository
from tests.cli.cli_support import imagegen_here
from tests.fuzz.fuzz_support import examples, explore
from tests.graphs.definition.graph_files import EXAMPLE, FUSE_AND_DYNAMIC, MODELS, graph_text

FULL_GRAPH = graph_text(
    'models_path: "./"\ndevice: "CPU"\nmax_resolution: "512x512"\ndefault_resolution: "64x64"\n'
    "plugin_config: '{\"NUM_STREAMS\": 2}'\nmax_num_images_per_prompt: 4\ndefault_num_inference_steps: 9\n"
    + FUSE_AND_DYNAMIC.replace("/loras/", "")
    + 'composite_lora_adapters { alias: "mix" components { adapter_alias: "anime" alpha: 0.5 } }'
)
ADAPTERS = ("style.safetensors", "pokemon.safetensors", "anime.safetensors")
CONFIG = json.dumps(
    {
        "model_config_list": [{"config": {"name": "one", "base_path": "one"}}],
        "mediapipe_config_list": [{"name": "two", "base_path": "two", "graph_path": "graph.pbtxt"}],
    },
    indent=1,
)
MODEL_FILES = [
    *("model_index.json", "unet/config.json", "vae_decoder/config.json", "scheduler/scheduler_config.json"),
]
PUTS = [
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\r",
        b"\xc3",
        b"{",
        b"}",
        b"[" * 2000,
        b'{"a":' * 2000,
        b'"',
        b"'",
    ),
    *(b"9" * 400, b"-1", b"1e999", b"nan", b"inf", b"18446744073709551616", b"0x7fffffffffffffff", b"\\000", b"\\377"),
    *(
        b"../../..",
        b"/",
        b"/dev/zero",
        b"/proc/self/mem",
        b"~",
        b"\\ud800",
        b"\xe2\x80\xae",
        b"true",
        b"null",
        b"[]",
        b"{}",
    ),
    *(b'"a/../../b"', b"a" * 300, b"x" * 5000, b"512x512 512x512", b"4096x4096x1", b"CPU GPU", b"#", b"//", b"/*"),
    *(
        b'models_path: "../../.."',
        b'models_path: "/dev"',
        b"node {}",
        b'lora_adapters { alias: "a" path: "/dev/zero" }',
    ),
]
DAMAGES = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, 30), st.sampled_from(PUTS) | st.binary(max_size=4)),
    min_size=1,
    max_size=3,
)


def _damaged(whole: bytes, damages: list[tuple[int, int, bytes]]) -> bytes:
    for at, drop, put in damages:
        at %= len(whole) + 1
        whole = whole[:at] + put + whole[at + drop :]
    return whole


def _read_or_refused(read: Callable[[], Any], *names: Path) -> Any:
    try:
        return read()
    except ConfigurationError as refusal:
        assert any(str(name) in refusal.message for name in names), refusal.message
        assert len(refusal.message) < 20_000
        return None


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder, of which the large files are left out: nothing here reads them."""
    folder = tmp_path / "model"
    shutil.copytree(MODELS / "sd", folder, ignore=shutil.ignore_patterns("*.bin", "*.xml"))
    for name in ADAPTERS:
        (folder / name).write_bytes(b"")
    return folder


@examples(100, 500)
@pytest.mark.parametrize("text", [EXAMPLE, FULL_GRAPH], ids=["example", "full"])
def test_a_damaged_graph_is_read_or_refused(model: Path, text: str, count: int) -> None:
    path = model / "graph.pbtxt"

    def check(damages: list[tuple[int, int, bytes]]) -> None:
        path.write_bytes(_damaged(text.encode(), damages))
        graph: Graph | None = _read_or_refused(lambda: read_graph(path, "m"), path)
        if graph is not None:
            json.dumps(graph.options()).encode()
            path.write_text(format_graph(graph))
            assert read_graph(path, "m").options() == graph.options()

    explore(check, count, damages=DAMAGES)


@examples(80, 400)
def test_a_damaged_config_is_read_or_refused(model: Path, count: int) -> None:
    for name in ("one", "two"):
        shutil.copytree(model, model.parent / name)
        (model.parent / name / "graph.pbtxt").write_text(EXAMPLE)
    path = model.parent / "config.json"

    def check(damages: list[tuple[int, int, bytes]]) -> None:
        path.write_bytes(_damaged(CONFIG.encode(), damages))
        found: Repository | None = _read_or_refused(lambda: load_repository(config_path=path), path, path.parent)
        for name in found.graphs if found else ():
            assert name.isprintable()
            assert ".." not in name.split("/")

    explore(check, count, damages=DAMAGES)


@examples(40, 200)
@pytest.mark.parametrize("name", MODEL_FILES)
def test_damaged_model_files_are_read_or_refused(model: Path, name: str, count: int) -> None:
    whole = (model / name).read_bytes()

    def check(damages: list[tuple[int, int, bytes]]) -> None:
        (model / name).write_bytes(_damaged(whole, damages))
        facts = _read_or_refused(lambda: read_model_facts(model), model)
        assert facts is None or facts.native_resolution.width > 0

    explore(check, count, damages=DAMAGES)


@examples(5, 25)
def test_validate_says_what_is_wrong_and_never_more(
    model: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    path = model / "graph.pbtxt"

    def check(damages: list[tuple[int, int, bytes]]) -> None:
        path.write_bytes(_damaged(FULL_GRAPH.encode(), damages))
        code = imagegen_here("validate", str(path))
        said = capsys.readouterr()
        assert code in (0, 2)
        assert said.err.startswith(f"imagegen: {path}") if code else json.loads(said.out)

    explore(check, count, damages=DAMAGES)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _memory(path: Path) -> None:
    path.symlink_to("/proc/self/mem")


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**36)


SPECIAL = [_pipe, _zero, _loop, _folder, _memory, _large]


@pytest.mark.parametrize("make", SPECIAL, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["graph.pbtxt", "config.json", "style.safetensors", *MODEL_FILES])
def test_a_file_that_is_none_is_refused_at_once(model: Path, name: str, make: Callable[[Path], None]) -> None:
    """Pipes would never be read to an end, devices neither."""
    (model / "graph.pbtxt").write_text(FULL_GRAPH)
    path = model / name
    path.unlink(missing_ok=True)
    make(path)
    if name == "config.json":
        with pytest.raises(ConfigurationError, match=r"config\.json"):
            load_repository(config_path=path)
        return
    found = _read_or_refused(lambda: load_repository(model_path=model), model)
    if name in MODEL_FILES:
        with pytest.raises(ConfigurationError, match=name):
            read_model_facts(model)
    elif not (make is _large and name == "style.safetensors") and name != "graph.pbtxt":
        assert found is None


@pytest.mark.parametrize(
    "path", ["../../../../../../..", "/", "/dev", "/proc/self", "/dev/zero", "\\000", "~", "./a/../"]
)
def test_a_models_path_that_leads_away_serves_nothing(model: Path, path: str) -> None:
    """A graph.pbtxt may name any folder; one without a model is refused with a sentence that says so."""
    (model / "graph.pbtxt").write_text(graph_text(f'models_path: "{path}"'))
    graph: Graph | None = _read_or_refused(lambda: read_graph(model / "graph.pbtxt", "m"), model)
    if graph is not None:
        with pytest.raises(ConfigurationError, match=r"model_index\.json"):
            read_model_facts(graph.models_path)


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../b", "/a", "a/", "a//b", ".", "a\nb", "a\x1b[2Jb", "a\u202eb", "a\x00b"]
)
def test_a_name_that_leads_away_is_refused(model: Path, name: str) -> None:
    path = model.parent / "config.json"
    path.write_text(json.dumps({"model_config_list": [{"config": {"name": name, "base_path": str(model)}}]}))
    with pytest.raises(ConfigurationError):
        load_repository(config_path=path)
    with pytest.raises(ConfigurationError):
        load_repository(model_path=model, model_name=name)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\u202eb", os.fsdecode(b"a\xffb")])
def test_a_folder_whose_name_cannot_be_sent_is_refused(model: Path, name: str) -> None:
    shutil.copytree(model, model.parent / "models" / name)
    with pytest.raises(ConfigurationError, match="cannot be a model's name"):
        load_repository(model_repository_path=model.parent / "models")
    assert imagegen_here("validate", str(model.parent / "models")) == 2


@pytest.mark.usefixtures("long_computation")
def test_a_great_many_adapters_are_read_or_refused_in_time(model: Path) -> None:
    adapters = "".join(f'lora_adapters{{alias:"{number}" path:"style.safetensors"}}\n' for number in range(18_000))
    (model / "graph.pbtxt").write_text(graph_text('models_path: "./"\n' + adapters))
    _read_or_refused(lambda: load_repository(model_path=model), model)
