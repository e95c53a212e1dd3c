"""The Celery task of a worker."""

from workers.app import app, runner
from workers.jobs.broker import RUN_JOB


@app.task(name=RUN_JOB)
def run_job() -> None:
    """Run the jobs of this worker's graph that wait."""
    runner().run_waiting()
