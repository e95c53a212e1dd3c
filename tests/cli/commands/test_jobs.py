"""`imagegen jobs` and `imagegen generate --async`, against the real API on a real Redis."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cli.queues import calls
from config.settings import RedisSettings
from tests.api.api_support import PNG, Api, serving, settings_for
from tests.cli.cli_support import imagegen_here
from tests.support.redis_server import RunningRedis
from tests.workers.jobs.jobs_support import Upkeep
from workers.jobs.job import JobError
from workers.jobs.observe.presence import WorkerActivity, WorkerPresence

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def running(redis_server: RunningRedis) -> Iterator[Api]:
    with serving(settings_for(redis_server.settings)) as made:
        yield made


@pytest.fixture
def api(running: Api, redis_settings: RedisSettings) -> Api:
    """The API, with an empty Redis."""
    assert running.redis == redis_settings
    return running


def _url(api: Api) -> tuple[str, str]:
    return "--url", str(api.http.base_url)


def test_generate_async_prints_the_id_and_draws_nothing(api: Api, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "out.png"
    assert imagegen_here("generate", "a star", "--async", "--seed", "4", "-o", str(out), *_url(api)) == 0
    output = capsys.readouterr()
    job = api.http.get(f"/v3/images/jobs/{output.out.strip()}").json()
    assert (job["status"], job["prompt"], job["seed"]) == ("queued", "a star", 4)
    assert output.out == f"{job['id']}\n"
    assert output.err.strip().endswith(f"imagegen jobs save {job['id']} -o {out} {' '.join(_url(api))}")
    assert not out.exists()
    api.complete(job["id"])
    assert imagegen_here("jobs", "save", job["id"], "-o", str(out), *_url(api)) == 0
    assert out.read_bytes() == PNG


def test_save_refuses_a_job_without_images_and_another_format(api: Api, tmp_path: Path, capsys: Output) -> None:
    job = api.submitted()["id"]
    assert imagegen_here("jobs", "save", job, "-o", str(tmp_path / "a.png"), *_url(api)) == 2
    assert "its images are not there yet" in capsys.readouterr().err
    api.complete(job)
    assert imagegen_here("jobs", "save", job, "-o", str(tmp_path / "a.webp"), *_url(api)) == 2
    assert "the images of this job are png" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_out_the_name_has_the_format_of_the_images(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.submitted(json={"prompt": "x", "output_format": "webp"})["id"]
    api.complete(job)
    monkeypatch.chdir(tmp_path)
    assert imagegen_here("jobs", "save", job, *_url(api)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.webp"]


def test_watch_saves_the_images_of_a_completed_job(api: Api, tmp_path: Path) -> None:
    job = api.submitted()["id"]
    api.complete(job)
    assert imagegen_here("jobs", "watch", job, "-o", str(tmp_path / "a.png"), *_url(api)) == 0
    assert (tmp_path / "a.png").read_bytes() == PNG


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v3/"])
def test_the_address_may_come_from_the_environment_with_a_prefix(
    api: Api, end: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("IMAGEGEN_URL", str(api.http.base_url).rstrip("/") + end)
    assert imagegen_here("jobs", "list") == 0
    assert capsys.readouterr().out.startswith("id")


def test_a_missing_key_names_the_option(redis_settings: RedisSettings, capsys: Output) -> None:
    with serving(settings_for(redis_settings, {"api_key": "a-key-of-this-server"})) as closed:
        assert imagegen_here("jobs", "list", *_url(closed)) == 2
        assert "--api_key, or set IMAGEGEN_API_KEY" in capsys.readouterr().err


def test_jobs_are_listed_newest_first(api: Api, capsys: Output) -> None:
    jobs = [api.submitted(json={"prompt": f"a [red]circle[/red] {number} \x1b[2J"}) for number in range(3)]
    api.complete(jobs[0]["id"])
    assert imagegen_here("jobs", "list", *_url(api)) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "status", "done", "model", "size", "age", "prompt"]
    assert [line.split()[:2] for line in lines] == [
        [job["id"], status] for job, status in zip(reversed(jobs), ("queued", "queued", "completed"), strict=True)
    ]
    assert "100 %" in lines[2] and lines[2].split()[4:6] == [jobs[0]["model"], jobs[0]["size"]]
    assert "a [red]circle[/red] 0" in lines[2] and "\x1b" not in lines[2]


def test_the_list_has_the_length_and_status_asked_for(
    api: Api, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_PAGE", 2)  # so that the list has several pages
    ids = [api.submitted()["id"] for _ in range(5)]
    api.complete(ids[0])
    for words, expected in (
        (("--limit", "3"), ids[:1:-1]),
        (("--limit", "50"), ids[::-1]),
        (("--status", "completed"), ids[:1]),
        (("--status", "queued"), ids[:0:-1]),
        (("--status", "failed"), []),
    ):
        assert imagegen_here("jobs", "list", *words, *_url(api)) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == expected, words


def test_a_job_is_shown(api: Api, capsys: Output) -> None:
    job = api.submitted(json={"prompt": "a star", "seed": 9, "metadata": {"album": "one"}})
    api.fail(job["id"], "generation_failed", "It went wrong.")
    assert imagegen_here("jobs", "show", job["id"], *_url(api)) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (shown["id"], shown["status"], shown["seed"]) == (job["id"], "failed", "9")
    assert (shown["error.message"], shown["metadata.album"]) == ("It went wrong.", "one")
    assert shown["created_at"].startswith("20") and "queue_position" not in shown


def test_every_field_of_a_shown_job_is_a_name_two_spaces_and_a_value(api: Api, capsys: Output) -> None:
    job = api.submitted()["id"]
    assert imagegen_here("jobs", "show", job, *_url(api)) == 0
    waiting = capsys.readouterr().out.splitlines()
    api.complete(job)
    assert imagegen_here("jobs", "show", job, *_url(api)) == 0
    completed = capsys.readouterr().out.splitlines()
    for lines in (waiting, completed):
        column = max(len(line.split("  ")[0]) for line in lines)
        assert all(line[column : column + 2] == "  " and line[column + 2] != " " for line in lines), lines
    assert any(line.split() == ["queue.limit", "1000"] for line in waiting)
    assert not any("usage" in line or "null" in line or "[" in line for line in completed), completed


@contextmanager
def _watched(api: Api, job_id: str) -> Iterator[list[int]]:
    """Watch a job in a thread; after the block the yielded list has the exit code."""
    codes: list[int] = []
    watching = threading.Thread(target=lambda: codes.append(imagegen_here("jobs", "watch", job_id, *_url(api))))
    watching.start()
    yield codes
    watching.join(20)


@pytest.mark.parametrize(
    ("ending", "code", "output"),
    [("completed", 0, "completed"), ("failed", 1, "failed: It went wrong."), ("cancelled", 1, "cancelled")],
)
def test_a_job_is_watched_to_its_end(api: Api, capsys: Output, ending: str, code: int, output: str) -> None:
    job_id = api.submitted()["id"]
    with _watched(api, job_id) as codes:
        claims, claim = api.claim(job_id)
        assert claims.progress(claim, 1, 4) == "go on"
        if ending == "completed":
            assert claims.complete(claim, [b"image"], {})
        elif ending == "failed":
            assert claims.fail(claim, JobError("generation_failed", "It went wrong."))
        else:
            api.http.post(f"/v3/images/jobs/{job_id}/cancel")
            assert claims.cancelled(claim)
    assert codes == [code]
    assert capsys.readouterr().out == f"{job_id}: {output}\n"


def test_a_job_that_has_ended_is_watched_as_well(api: Api, capsys: Output) -> None:
    job_id = api.submitted()["id"]
    api.complete(job_id)
    assert imagegen_here("jobs", "watch", job_id, *_url(api)) == 0
    assert capsys.readouterr().out == f"{job_id}: completed\n"
    assert imagegen_here("jobs", "cancel", job_id, *_url(api)) == 0
    assert capsys.readouterr().out == f"{job_id}: is completed already, and stays so\n"


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_at_its_next_step(api: Api, capsys: Output) -> None:
    running, waiting = api.submitted()["id"], api.submitted()["id"]
    claims, claim = api.claim(running)
    for job_id, state in ((running, "stops at its next step"), (waiting, "cancelled"), (waiting, "cancelled")):
        assert imagegen_here("jobs", "cancel", job_id, *_url(api)) == 0
        assert capsys.readouterr().out == f"{job_id}: {state}\n"
    assert claims.progress(claim, 1, 4) == "cancel"


def test_all_jobs_are_cancelled(api: Api, capsys: Output) -> None:
    running, _ = api.submitted()["id"], api.submitted()["id"]
    claims, claim = api.claim(running)
    assert imagegen_here("jobs", "cancel-all", "--status", "queued", *_url(api)) == 0
    assert imagegen_here("jobs", "cancel-all", *_url(api)) == 0
    assert capsys.readouterr().out == "1 job cancelled\n1 job cancelled\n"
    assert claims.progress(claim, 1, 4) == "cancel"


@pytest.fixture(scope="module")
def running_keyed(redis_server: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("first label=ops\n")
    path.chmod(0o600)
    with serving(settings_for(redis_server.settings, {"api_key_file": path})) as made:
        made.http.headers["Authorization"] = "Bearer first"
        yield made


@pytest.fixture
def keyed(running_keyed: Api, redis_settings: RedisSettings) -> Api:
    """The API with a key, an administrator's with the label ops, and an empty Redis."""
    assert running_keyed.redis == redis_settings
    return running_keyed


def _as_administrator(api: Api, *words: str) -> int:
    return imagegen_here("jobs", *words, *_url(api), "--api-key", "first")


def test_queues_are_paused_and_resumed_by_administrators(keyed: Api, capsys: Output) -> None:
    for command, said in (
        (("pause",), "paused: demo\n"),
        (("pause", "demo"), "nothing was paused; `imagegen jobs waiting` shows what waits\n"),
        (("resume",), "resumed: demo\n"),
    ):
        assert _as_administrator(keyed, *command) == 0
        assert capsys.readouterr().out == said
    keyed.submitted()
    assert _as_administrator(keyed, "waiting") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["owner", "model", "jobs"], ["ops", "demo", "1"]]
    assert _as_administrator(keyed, "pause", "none") == 2
    assert "none" in capsys.readouterr().err


def test_administrators_list_what_waits_and_move_a_job_to_the_front(
    keyed: Api, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_PAGE", 2)  # so that the list has several pages
    ids = [keyed.submitted(json={"prompt": "a secret", "n": 2, "size": "64x64"})["id"] for _ in range(3)]
    for job_id, more in ((ids[1], ()), (ids[2], ("--owner", "ops"))):
        assert _as_administrator(keyed, "front", job_id, *more) == 0
        assert capsys.readouterr().out == f"{job_id} of ops is the next job of demo\n"
    assert _as_administrator(keyed, "queue", "demo") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "owner", "priority", "images", "steps", "pixels", "age"]
    assert [line.split()[:3] for line in lines] == [
        [ids[2], "ops", "front"],
        [ids[1], "ops", "front"],
        [ids[0], "ops", "normal"],
    ]
    assert [line.split()[i] for line in lines for i in (3, 5)] == ["2", "4096"] * 3
    assert _as_administrator(keyed, "queue", "--limit", "1") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    keyed.claim(ids[2])
    assert _as_administrator(keyed, "front", ids[2]) == 2
    assert "is in_progress and has no place in the queue any more" in capsys.readouterr().err


def test_administrators_see_the_workers(keyed: Api, capsys: Output) -> None:
    activity = WorkerActivity("imgjob_1", time.time() - 180, {"denoise": 1.25, "encode": 0.01})
    presence = WorkerPresence("a/b/1/c", "demo", "GPU.0", ready=True, operations=(), seen_at=0.0, stage="drawing")
    Upkeep(keyed.redis).heartbeat(replace(presence, activity=activity, last_error="Bad."))
    assert _as_administrator(keyed, "workers") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "model", "device", "stage", "for", "job", "last", "job", "last", "error"]
    words = ("a/b/1/c", "demo", "GPU.0", "drawing", "3 min", "imgjob_1", "denoise 1.25 s, encode 0.01 s", "Bad.")
    assert line.split() == " ".join(words).split()


def test_administrators_see_the_last_errors(keyed: Api, capsys: Output) -> None:
    job_id = keyed.submitted()["id"]
    keyed.fail(job_id)
    assert _as_administrator(keyed, "errors", "demo", "--limit", "3") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["time", "model", "owner", "job", "worker", "code", "message"]
    assert line.split()[3:8] == ["demo", "ops", job_id, "hand", "generation_failed"]
    assert line.endswith("It went wrong.")


@pytest.mark.parametrize("words", [("show",), ("watch",), ("cancel",)])
def test_an_unknown_job_is_one_sentence(api: Api, capsys: Output, words: tuple[str, ...]) -> None:
    for job_id in ("imgjob_none", "a/../b"):
        assert imagegen_here("jobs", *words, job_id, *_url(api)) == 2
        output = capsys.readouterr()
        assert output.out == "" and output.err.startswith("imagegen: the server refuses: ")
        assert output.err.count("\n") == 1


@pytest.mark.parametrize("words", [("list",), ("show", "x"), ("watch", "x"), ("cancel", "x")])
def test_an_absent_server_is_one_sentence(capsys: Output, words: tuple[str, ...], free_port: int) -> None:
    assert imagegen_here("jobs", *words, "--url", f"http://127.0.0.1:{free_port}") == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("imagegen: no server answers at ") and complaint.count("\n") == 1


@pytest.mark.parametrize("words", [("list", "--status", "lost"), ("list", "--limit", "0"), ("show",)])
def test_a_wrong_argument_is_one_sentence(capsys: Output, words: tuple[str, ...]) -> None:
    assert imagegen_here("jobs", *words) == 2
    assert capsys.readouterr().err.count("\n") == 1
