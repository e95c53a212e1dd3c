"""Reading an imagegen.toml: what is refused, with file, line and the nearest name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.errors import RepositoryError
from graphs.own_options.options_file import options_file_in, read_options_file
from graphs.own_options.schema import FileOptions, form_of


def _file(folder: Path, text: str | bytes) -> Path:
    path = folder / "imagegen.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_all_keys_are_read(tmp_path: Path) -> None:
    text = """\
default_size_fit = "nearest"
default_guidance_scale = 4
default_response_format = "url"
aliases = ["a"]
[model_aliases]
"gpt-image-*" = "demo"
"""
    read = read_options_file(_file(tmp_path, text))
    assert read.options == FileOptions(
        default_size_fit="nearest",
        default_guidance_scale=4.0,
        default_response_format="url",
        aliases=["a"],
        model_aliases={"gpt-image-*": "demo"},
    )
    assert read.options.model_fields_set == set(FileOptions.model_fields), "a new key needs an example here"
    assert read.place("model_aliases", "gpt-image-*") == f"{read.path}:6"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('\ndefault_size_fitt = "x"', ":2: default_size_fitt: There is no such option; did you mean default_size_fit?"),
        (
            "pools = 3",
            ":1: pools: There is no such option; known are default_size_fit, default_guidance_scale, "
            "default_response_format, aliases, model_aliases.",
        ),
        (
            'default_size_fit = "nearst"',
            ':1: default_size_fit: "nearst" cannot be used here; write "exact" or "nearest". Did you mean "nearest"?',
        ),
        (
            'default_response_format = "b64"',
            ':1: default_response_format: "b64" cannot be used here; write "b64_json" or "url". '
            'Did you mean "b64_json"?',
        ),
        ('default_guidance_scale = "4"', ':1: default_guidance_scale: "4" cannot be used here; write a number'),
        ("default_guidance_scale = true", ":1: default_guidance_scale: true cannot be used here"),
        ("default_guidance_scale = nan", "write a number from 0 to 100."),
        ("default_guidance_scale = 100.1", "100.1 cannot be used here; write a number from 0 to 100."),
        ('aliases = "a"', 'write a list of names, such as ["gpt-image-*"].'),
        ("# one\n\naliases = [\n1]", ":3: aliases.0: 1 cannot be used here"),
        ('[model_aliases]\n"x" = 3', ":2: model_aliases.x: 3 cannot be used here"),
        (
            '[model_aliases]\ngpt-image-1.5 = "demo"',
            ':2: model_aliases.gpt-image-1: {"5": "demo"} cannot be used here; write a table of names, such as '
            '"gpt-image-*" = "demo". A name with a dot needs quotation marks: "gpt-image-1.5" = "demo".',
        ),
        ("model_aliases = 1", ":1: model_aliases: 1 cannot be used here; write a table"),
        ("x = 1\nx = 2", ":2: This is not TOML: Cannot overwrite a value."),
        ("a = ", ":1: This is not TOML: Invalid value."),
        (b"a = '\xff'", ": The file is not UTF-8 text: see line 1."),
        ("#" * 70_000, ": The file is larger than 64 KiB, which no options need."),
        ("x = " + "[" * 5000, ": This TOML is nested too deeply."),
        ("default_guidance_scale = " + "9" * 5000, "imagegen.toml: "),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(RepositoryError) as refusal:
        read_options_file(path)
    assert refusal.value.message.startswith(f"{path}:")
    assert says in refusal.value.message
    assert len(refusal.value.message) < 600


def test_a_folder_or_a_dead_link_of_this_name_is_an_error_and_not_ignored(tmp_path: Path) -> None:
    assert options_file_in(tmp_path) is None
    (tmp_path / "imagegen.toml").symlink_to(tmp_path / "absent")
    path = options_file_in(tmp_path)
    assert path is not None
    with pytest.raises(
        RepositoryError, match="There is no such file; what has this name is a folder, a device or a dead link"
    ):
        read_options_file(path)


@pytest.mark.parametrize("key", FileOptions.model_fields)
def test_each_key_says_what_can_be_written(key: str) -> None:
    assert form_of(key)
    assert FileOptions.model_fields[key].description


PIECES = st.sampled_from(
    [
        *("default_size_fit", "aliases", "model_aliases", "x", "=", ".", "[", "]", "{", "}", '"', "'", '"""', "#"),
        *("\n", "\r\n", "1", "1e999", "nan", "true", "1979-05-27", '"nearest"', ",", " ", "\u2028", "\0", "\ufeff"),
        *("\\u0000", "é"),
    ]
)


@given(st.one_of(st.lists(PIECES, max_size=24).map(lambda words: "".join(words).encode()), st.binary(max_size=40)))
def test_any_content_is_read_or_refused_with_the_files_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "imagegen.toml"
    path.write_bytes(content)
    try:
        read = read_options_file(path)
    except RepositoryError as error:
        assert error.message.startswith(f"{path}:")
        assert len(error.message) < 1000
    else:
        assert {key[0] for key in read.lines} >= read.options.model_fields_set
