"""Requests that no worker has the memory for, where the graph does not say how large images may be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.memory_admission import check_memory
from config.settings import RedisSettings, RepositorySettings
from graphs.errors import InvalidRequest
from graphs.families.sd import SD
from graphs.repository.bundled import bundled_model_path
from graphs.resolution import Resolution
from tests.api.api_support import DATA_URL, error_of, serving, settings_for
from tests.graphs.facts_support import facts_of, graph_of
from tests.support.service import write_graph
from tests.workers.jobs.jobs_support import Upkeep, a_request
from workers.jobs.observe.presence import WorkerPresence

GIB = 2**30
# Its 12 GiB are enough for 1448x1448 pixels and a little more.
WORKER = WorkerPresence(
    name="w",
    graph="base",
    device="CPU",
    ready=True,
    operations=("generation", "edit"),
    seen_at=0.0,
    memory_limit_bytes=12 * GIB,
    fixed_bytes=4 * GIB,
    pixel_bytes=4096,
)
STATED: dict[str, Any] = {"max_resolution": Resolution(4096, 4096)}
LISTED: dict[str, Any] = {"resolution": (Resolution(4096, 4096), Resolution(512, 512))}
SENTENCE = (
    "An image of 4096x2048 takes about 36.0 GiB of memory with this model, and its workers may use 12.0 GiB; "
    "2040x1016 would fit."
)


def _refusal(options: dict[str, Any], *workers: WorkerPresence, width: int = 4096, height: int = 2048) -> str | None:
    try:
        check_memory(a_request(width=width, height=height), graph_of(**options), facts_of(SD), workers)
    except InvalidRequest as error:
        assert (error.param, error.code) == ("size", "invalid_size")
        return error.message
    return None


@pytest.mark.fast
class TestAdmission:
    def test_a_size_that_no_worker_can_draw_is_refused_with_one_that_fits(self) -> None:
        assert _refusal({}, WORKER) == SENTENCE
        assert _refusal({}, WORKER, width=2040, height=1016) is None

    @pytest.mark.parametrize("options", [STATED, LISTED])
    def test_a_graph_that_states_its_sizes_decides_itself(self, options: dict[str, Any]) -> None:
        assert _refusal(options, WORKER) is None

    def test_one_worker_with_the_memory_is_enough(self) -> None:
        small = replace(WORKER, memory_limit_bytes=6 * GIB)
        assert _refusal({}, small, WORKER) == SENTENCE
        assert _refusal({}, small, replace(WORKER, memory_limit_bytes=40 * GIB)) is None

    def test_without_a_worker_that_knows_nothing_is_refused(self) -> None:
        assert _refusal({}) is None
        unknown = replace(WORKER, memory_limit_bytes=0, fixed_bytes=0, pixel_bytes=0)
        assert _refusal({}, unknown) is None
        assert _refusal({}, WORKER, unknown) is None

    def test_a_model_that_is_past_the_bound_at_every_size_is_served_nevertheless(self) -> None:
        assert _refusal({}, replace(WORKER, fixed_bytes=13 * GIB)) is None


@pytest.mark.parametrize(("more", "is_refused"), [("", True), ('max_resolution: "4096x4096"', False)])
def test_over_http(redis_settings: RedisSettings, tmp_path: Path, more: str, is_refused: bool) -> None:
    graph = write_graph(tmp_path / "base", bundled_model_path(), more=more)
    settings = settings_for(redis_settings).model_copy(update={"repository": RepositorySettings(model_path=graph)})
    Upkeep(redis_settings, graph="base").heartbeat(WORKER)
    with serving(settings) as api:
        body = {"prompt": "a red circle", "size": "4096x2048"}
        edit = {**body, "images": [{"image_url": DATA_URL}]}
        for path, asked in (("generations", body), ("edits", edit)):
            answer = api.http.post(f"/v3/images/{path}", json=asked, headers={"Prefer": "respond-async"})
            if is_refused:
                error = error_of(answer)
                assert (error["param"], error["code"], error["message"]) == ("size", "invalid_size", SENTENCE)
            else:
                assert answer.status_code == 202, answer.text
