"""The lines of keys in a TOML text."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from graphs.own_options.key_lines import key_lines

TEXT = '''\
# [not_a_table]
size = "a"  # size = "b"

names = [
    "one",
    "key = 1",
]
text = """
inner = 1
[inner]
"""
a.b = 1
"quoted key" = { x = 1, y.z = 2 }
[ table ]
x = 1
['o t'."h=r"]
x = 2
[table.deep]
'''


def test_each_key_has_its_line() -> None:
    assert key_lines(TEXT) == {
        ("size",): 2,
        ("names",): 4,
        ("text",): 8,
        ("a",): 12,
        ("a", "b"): 12,
        ("quoted key",): 13,
        ("quoted key", "x"): 13,
        ("quoted key", "y"): 13,
        ("quoted key", "y", "z"): 13,
        ("table",): 14,
        ("table", "x"): 15,
        ("o t",): 16,
        ("o t", "h=r"): 16,
        ("o t", "h=r", "x"): 17,
        ("table", "deep"): 18,
    }


def test_windows_line_ends_and_unusual_separators() -> None:
    assert key_lines('a = 1\r\n\r\nb = "\u2028"\r\nc = 3') == {("a",): 1, ("b",): 3, ("c",): 4}


def test_a_value_of_very_many_lines_has_no_line() -> None:
    text = "a = 1\nb = [\n" + "1,\n" * 300 + "]\n"
    assert key_lines(text) == {("a",): 1}


LINES = st.lists(
    st.sampled_from(("a = 1", 'b = """', '"""', "c = [", "]", "[t]", "['x y']", "d.e = 2", "# f", "", "1,", "g = {}")),
    max_size=12,
)


@given(LINES)
def test_every_key_is_found(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = key_lines(text)
    assert {key[0] for key in found} == set(content)
    for key, line in found.items():
        assert key[-1].split()[0] in lines[line - 1], text
