"""The docstring of graphs/errors.py shows the real tree of classes."""

import re

from graphs import errors

_LINE = re.compile(r"^    ((?:\|   |    )*)(?:(\|--|`--) )?([A-Z]\w+)(?: {2,}\S.*)?$", re.MULTILINE)


def _documented() -> list[tuple[str, str]]:
    """Every class of the docstring's tree and its parent there, from the top."""
    path: list[str] = []
    found: list[tuple[str, str]] = []
    for indent, branch, name in _LINE.findall(errors.__doc__ or ""):
        depth = len(indent) // 4 + bool(branch)
        path[depth:] = [name]
        found.append((name, path[depth - 1] if depth else "Exception"))
    return found


def _defined() -> list[tuple[str, str]]:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    return [(cls.__name__, cls.__bases__[0].__name__) for cls in classes]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert len(_documented()) > 20
    assert sorted(_documented()) == sorted(_defined())


def test_a_class_brings_its_message_its_code_and_its_pause() -> None:
    full = errors.StoreFull()
    assert full.message.startswith("The job store (Redis) is full")
    assert (full.code, full.retry_after_s, full.param) == ("store_full", 30, None)
    assert errors.StoreFull(retry_after_s=5).retry_after_s == 5
    assert errors.InvalidRequest("no", param="n").retry_after_s is None
