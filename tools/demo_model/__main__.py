"""Runs the stages in order: ``python -m tools.demo_model [stage ...] --out DIR --work DIR [--quick]``."""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.demo_model.recipe import FULL, QUICK, Folders, Recipe
from tools.demo_model.training.loop import console

# Each stage is a module and its function; a module is imported when its stage starts.
_STAGES = {
    "tokenizer": ("tools.demo_model.networks.tokenizer", "make"),
    "vae": ("tools.demo_model.networks.vae", "train"),
    "text": ("tools.demo_model.networks.text_encoder", "train"),
    "unet": ("tools.demo_model.networks.unet", "train"),
    "adapters": ("tools.demo_model.networks.adapters", "train"),
    "export": ("tools.demo_model.export", "run"),
    "evaluate": ("tools.demo_model.evaluate", "run"),
    "styles": ("tools.demo_model.styles", "run"),
}


def main() -> None:
    """Run the stages that the command line names; finished stages are skipped."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_model", description="Make the demo model from nothing.")
    parser.add_argument("stages", nargs="*", metavar="stage", help=f"one of {', '.join(_STAGES)}; all when left out")
    parser.add_argument("--out", type=Path, required=True, help="where the finished model and adapters go")
    parser.add_argument("--work", type=Path, required=True, help="where checkpoints and training images are kept")
    parser.add_argument("--quick", action="store_true", help="a few steps only: shows that every stage works")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.stages if name not in _STAGES]
    if unknown:
        parser.error(f"there is no stage {unknown[0]!r}")
    folders = Folders(chosen.out, chosen.work)
    folders.make()
    try:
        for name in _STAGES:
            if name in (chosen.stages or _STAGES):
                _run(name, QUICK if chosen.quick else FULL, folders, again=name in chosen.stages)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from the last checkpoint")
        sys.exit(130)


def _run(name: str, recipe: Recipe, folders: Folders, again: bool) -> None:
    done = folders.work / f"{name}.done"
    if done.exists() and not again:
        console.print(f"[dim]{name}: done before[/dim]")
        return
    console.rule(f"{name}  ({time.strftime('%H:%M:%S')})")
    module, function = _STAGES[name]
    stage: Callable[[Recipe, Folders], None] = getattr(importlib.import_module(module), function)
    with _timed(folders.records / "times.json", name, again):
        stage(recipe, folders)
    done.touch()


@contextmanager
def _timed(path: Path, name: str, again: bool) -> Iterator[None]:
    """Add the stage's wall time to ``times.json``; that of an interrupted stage (Ctrl-C) counts as well."""
    times: dict[str, int] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    before = 0 if again else times.get(name, 0)
    began = time.monotonic()
    try:
        yield
    finally:
        seconds = before + round(time.monotonic() - began)
        path.write_text(json.dumps(times | {name: seconds}, indent=2) + "\n", encoding="utf-8")
    console.print(f"{name}: took {seconds} s")


if __name__ == "__main__":
    main()
