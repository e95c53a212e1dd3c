"""``make upgrade-drill FROM=COMMIT``: stop an older commit's service in the middle of its work, go on with this one.

The older commit accepts 200 jobs. When half of them are drawn it is stopped, and this tree starts on the same data.
All jobs must complete, and every artifact must decode to the size that was asked for; half of the jobs have an id of
the client's. An address that the older commit signed must open. Exit code 0 if so, 1 if not.
"""

import argparse
import io
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx2
from PIL import Image

from tools.commits import Service, check_out, serving, this_tree

SIZES = ("128x128", "64x64", "128x64", "64x128")
_FINAL = {"completed", "failed", "cancelled", "expired"}
_DEADLINE_S = 300.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Result:
    """What became of the jobs, by status; how many the older commit had completed; each artifact that is wrong."""

    statuses: Counter[str]
    drawn_before: int
    wrong_artifacts: list[str]

    def is_good(self, jobs: int) -> bool:
        """Return whether all jobs completed, some on each side of the upgrade, with the right artifacts."""
        return self.statuses == {"completed": jobs} and 0 < self.drawn_before < jobs and not self.wrong_artifacts


def main(arguments: list[str] | None = None) -> int:
    """Run the drill, print its table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.upgrade_drill", description=__doc__)
    parser.add_argument("--from", dest="commit", required=True, help="the older commit")
    parser.add_argument("--jobs", type=int, default=200, help="jobs to submit (200)")
    parser.add_argument("--simulated", action="store_true", help="draw with the simulated engine, not the model")
    options = parser.parse_args(arguments)
    older = check_out(options.commit)
    newer = this_tree()
    environment = {"IMAGEGEN_WORKER__ENGINE": "simulated" if options.simulated else "openvino"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with serving(older, folder, environment=environment) as service:
            address = _signed_address(service)
            ids = [_submit(service, number) for number in range(options.jobs)]
            # One client's jobs are drawn in the order in which they were submitted.
            _wait_for(service, ids[len(ids) // 2 - 1])
        stopped_at = time.time()
        with serving(newer, folder, environment=environment) as service:
            opened = service.http.get(address)
            result = _finish(service, ids, stopped_at)
    if opened.status_code != 200:
        result.wrong_artifacts.append(f"the signed address: {opened.text}")
    _print_table(older.name, options.jobs, result)
    return 0 if result.is_good(options.jobs) else 1


def _submit(service: Service, number: int) -> str:
    body = {
        "prompt": "a red circle on a blue background",
        "size": SIZES[number % len(SIZES)],
        "seed": number,
        "num_inference_steps": 4,
    }
    if number % 2:
        answer = service.http.put(f"/v3/images/jobs/drill-{number}", json=body)
    else:
        answer = service.http.post("/v3/images/jobs", json=body)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _signed_address(service: Service) -> str:
    """Draw an image and return the path of its signed address."""
    body = {"prompt": "a red circle", "size": SIZES[0], "response_format": "url", "num_inference_steps": 4}
    answer = service.http.post("/v3/images/generations", json=body)
    answer.raise_for_status()
    url = str(answer.json()["data"][0]["url"])
    return url[url.index("/v3/") :]


def _wait_for(service: Service, job_id: str) -> dict[str, object]:
    """Return a job once it has ended. Raises TimeoutError after five minutes."""
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end:
        answer = service.http.get(f"/v3/images/jobs/{job_id}")
        answer.raise_for_status()
        job: dict[str, object] = answer.json()
        if job["status"] in _FINAL:
            return job
        time.sleep(_POLL_S)
    raise TimeoutError(f"{job_id} did not end within {_DEADLINE_S:.0f} s.")


def _finish(service: Service, ids: list[str], stopped_at: float) -> Result:
    jobs = [_wait_for(service, job_id) for job_id in ids]
    completed_at = [float(str(job["completed_at"])) for job in jobs if job["status"] == "completed"]
    wrong = [complaint for number, job_id in enumerate(ids) if (complaint := _check_artifact(service, number, job_id))]
    return Result(Counter(str(job["status"]) for job in jobs), sum(at < stopped_at for at in completed_at), wrong)


def _check_artifact(service: Service, number: int, job_id: str) -> str | None:
    """Return what is wrong with a job's artifact, None if nothing is."""
    try:
        answer = service.http.get(f"/v3/images/jobs/{job_id}/content")
        answer.raise_for_status()
        with Image.open(io.BytesIO(answer.content)) as image:
            image.load()
            size = f"{image.width}x{image.height}"
    except (httpx2.HTTPError, OSError) as error:
        return f"{job_id}: {error}"
    wanted = SIZES[number % len(SIZES)]
    return None if size == wanted else f"{job_id}: {size} and not {wanted}"


def _print_table(commit: str, jobs: int, result: Result) -> None:
    ends = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    rows = {
        "jobs submitted to the older commit": jobs,
        "of them drawn before it stopped": result.drawn_before,
        "ends, read from this tree": ends,
        "artifacts fetched and of the right size": jobs - len(result.wrong_artifacts),
    }
    print(f"| upgrade from {commit} | |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    for complaint in result.wrong_artifacts:
        print(complaint)


if __name__ == "__main__":
    sys.exit(main())
