"""A folder of adapters: which of its files are adapters, and under which alias."""

from pathlib import Path

import pytest

from graphs.errors import RepositoryError
from graphs.repository.adapter_folder import FolderScan, alias_of, graph_of_folder, scan_folder
from graphs.repository.repository import load_repository
from tests.graphs.definition.graph_files import MODELS, graph_text, write_graph


def fill(folder: Path, *files: str) -> FolderScan:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return scan_folder(folder)


def found(folder: Path, scan: FolderScan) -> dict[str, str]:
    return {alias: str(path.relative_to(folder)) for alias, path in scan.files.items()}


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("ink", "ink"),
        ("DD-xray-v1.2_final", "DD-xray-v1.2_final"),
        ("Ukiyo-e Art", "Ukiyo-e-Art"),
        ("Tinte é (v2)", "Tinte-e-v2"),
        ("a, b = @c;d%20", "a-b-c-d-20"),
        ("..x..", "x"),
        ("- x -", "x"),
        ("ﬁne", "fine"),
        ("墨絵 ink", "ink"),
        ("墨絵", ""),
        ("---", ""),
    ],
)
def test_the_alias_is_made_of_the_name(name: str, alias: str) -> None:
    assert alias_of(Path(f"{name}.safetensors")) == alias
    assert alias_of(Path(f"{name}.SafeTensors")) == alias


def test_files_in_folders_are_found_and_others_passed_over(tmp_path: Path) -> None:
    scan = fill(
        tmp_path,
        "ink.safetensors",
        "styles/wash/Wash 2.SAFETENSORS",
        ".hidden.safetensors",
        ".trash/old.safetensors",
        "loading.safetensors.part",
        "chrome.safetensors.crdownload",
        "aria.safetensors",
        "aria.safetensors.aria2",
        "model.ckpt",
        "readme.txt",
        "safetensors",
    )
    assert found(tmp_path, scan) == {"ink": "ink.safetensors", "Wash-2": "styles/wash/Wash 2.SAFETENSORS"}
    assert scan.left_out == {}


def test_of_two_files_with_one_alias_one_is_left_out(tmp_path: Path) -> None:
    scan = fill(tmp_path, "a/ink.safetensors", "z ink.safetensors", "b/z-ink.safetensors", "b/ink.safetensors")
    assert found(tmp_path, scan) == {"ink": "a/ink.safetensors", "z-ink": "z ink.safetensors"}
    assert scan.left_out == {
        tmp_path / "b/ink.safetensors": "its alias 'ink' is that of a/ink.safetensors; rename one of them.",
        tmp_path / "b/z-ink.safetensors": "its alias 'z-ink' is that of z ink.safetensors; rename one of them.",
    }


def test_a_name_without_an_alias_is_left_out(tmp_path: Path) -> None:
    names = "墨絵.safetensors", f"{'x' * 101}.safetensors"
    scan = fill(tmp_path, *names, f"{'y' * 100}.safetensors")
    assert list(scan.files) == ["y" * 100]
    reason = "its name gives no alias of 1 to 100 letters and digits; rename it."
    assert scan.left_out == {tmp_path / name: reason for name in names}


def test_folders_are_searched_to_a_depth(tmp_path: Path) -> None:
    scan = fill(tmp_path, "1/2/3/4/deep.safetensors", "1/2/3/4/5/deeper.safetensors")
    assert list(scan.files) == ["deep"]
    assert scan.left_out == {tmp_path / "1/2/3/4/5": "it is more than 4 folders deep, and is not searched."}


def test_links_are_followed_once(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "ink.safetensors")
    folder = tmp_path / "loras"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "again.safetensors").symlink_to(tmp_path / "elsewhere" / "ink.safetensors")
    (tmp_path / "elsewhere" / "up").symlink_to(folder)
    scan = scan_folder(folder)
    assert found(folder, scan) == {"again": "again.safetensors", "ink": "linked/ink.safetensors"}
    assert scan.left_out == {}


def test_a_folder_has_so_many_files_at_most(tmp_path: Path) -> None:
    scan = fill(tmp_path, *(f"{number:04}.safetensors" for number in range(2002)))
    assert len(scan.files) == 2000
    reason = "a folder of adapters has at most 2000 files."
    assert scan.left_out == {tmp_path / f"{number}.safetensors": reason for number in (2000, 2001)}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, reason in (("none", "No such file or directory"), ("file", "Not a directory")):
        with pytest.raises(RepositoryError) as refused:
            scan_folder(tmp_path / name)
        assert str(refused.value) == f"{tmp_path / name}: The folder of adapters cannot be read: {reason}."


def test_a_folder_is_for_one_model(tmp_path: Path) -> None:
    assert graph_of_folder(tmp_path, load_repository(model_path=MODELS / "sd")).name == "sd"
    with pytest.raises(RepositoryError, match=r"^--lora_folder is for a single model, .*choose one with --model_path"):
        graph_of_folder(tmp_path, load_repository(model_repository_path=MODELS))


@pytest.mark.parametrize(
    "options",
    [
        'device: "NPU" resolution: "64x64"',
        'lora_adapters { alias: "s" path: "s.safetensors" mode: STATIC }',
    ],
)
def test_a_graph_whose_adapters_are_compiled_in_takes_no_folder(tmp_path: Path, options: str) -> None:
    write_graph(tmp_path / "m", graph_text(f'models_path: "./" {options}'))
    (tmp_path / "m" / "s.safetensors").write_bytes(b"")
    with pytest.raises(RepositoryError) as refused:
        graph_of_folder(tmp_path, load_repository(model_path=tmp_path / "m"))
    assert str(refused.value) == (
        "--lora_folder is for adapters that are switched with each request, and those of 'm' are compiled in (mode "
        "STATIC, as on the NPU); name them with --source_loras or in graph.pbtxt."
    )
