"""The job store's Lua scripts: each is one atomic transition.

Every script gets the same six keys first (job, queued, running, events, image, mask), as ``prelude.lua`` names them.
"""

from pathlib import Path

from workers.jobs import keys

_FOLDER = Path(__file__).parent / "lua"
_PRELUDE = (_FOLDER / "prelude.lua").read_text(encoding="utf-8")


def script(name: str) -> str:
    """Return the source of a script, with what all of them share in front."""
    return _PRELUDE + (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def job_keys(job_id: str, graph: str) -> list[str]:
    """Return the six keys that every script is called with."""
    return [
        keys.job(job_id),
        keys.queued(graph),
        keys.RUNNING,
        keys.EVENTS,
        keys.image(job_id),
        keys.mask(job_id),
    ]
