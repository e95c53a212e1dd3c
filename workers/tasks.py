"""The Celery tasks: names and nothing more."""

from workers.app import app, runner
from workers.jobs.broker import RUN_JOB


@app.task(name=RUN_JOB)
def run_job() -> None:
    """Run the job that is next."""
    runner().run_next()
