"""What records a pull: its view, and a converter that only notes what it is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class View:
    total_bytes: int = 0
    done: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def begin(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes

    def progress(self, done_bytes: int) -> None:
        self.done.append(done_bytes)

    def end(self) -> None:
        assert self.done[-1] == self.total_bytes

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@dataclass
class Recorder:
    """A converter. It raises ``failure``, if it has one, in the place of a conversion."""

    checked: dict[str, int] = field(default_factory=dict)
    left_bytes: int = -1
    before: list[str] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    model: str = ""
    failure: Exception | None = None

    def check(self, folder: Path, target: Path, weight_bytes: Mapping[str, int], left_bytes: int) -> None:
        self.checked = dict(weight_bytes)
        self.left_bytes = left_bytes
        self.before = files_below(folder)

    def convert(self, folder: Path, target: Path, model: str) -> None:
        self.converted = files_below(folder)
        self.model = model
        if self.failure is not None:
            raise self.failure
        target.mkdir(parents=True, exist_ok=True)
        (target / "model_index.json").write_bytes((folder / "model_index.json").read_bytes())


def files_below(folder: Path) -> list[str]:
    """Return the files of a folder, but for the hidden ones that a pull keeps for itself."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not path.name.startswith("."))
