"""The Celery tasks: names and nothing more."""

from workers.app import app, runner
from workers.jobs.broker import RUN_JOB


@app.task(name=RUN_JOB)
def run_job(job_id: str) -> None:
    """Run the job with this id."""
    runner().run(job_id)
