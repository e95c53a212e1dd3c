"""The generated pages of docs/ say what the code says."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from config.settings import Settings
from tools.write_reference import PAGES, main


def test_the_pages_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_not_depend_on_the_machine(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = PAGES[page]()
    assert str(Path.home()) not in text
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("IMAGEGEN_HTTP__REST_PORT", "9000")
    monkeypatch.setenv("COLUMNS", "30")
    assert PAGES[page]() == text


def test_every_setting_is_described() -> None:
    undescribed = []
    for group, field in Settings.model_fields.items():
        kind = field.annotation
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {group: field}
        undescribed += [f"{group}.{name}" for name, inner in fields.items() if not inner.description]
    assert undescribed == []
