"""Labels of jobs in a table of their own, in which lists look for them. What users see is the job's own `labels`."""

from collections.abc import Sequence
from typing import Any

from jobd.store.db import sql
from jobd.store.db.tables import Job, JobLabel


def store(job: Job) -> None:
    """Store the labels of a job that has none stored."""
    rows = [(f"{name}={value}", job.id, job.namespace) for name, value in job.labels.items()]
    if rows:
        text = f"INSERT INTO job_labels (label, job_id, namespace) VALUES {', '.join(['(?, ?, ?)'] * len(rows))}"  # noqa: S608
        sql.execute(JobLabel, text, *(value for row in rows for value in row))


def change(job: Job) -> None:
    """Replace the stored labels of a job."""
    drop(job.id)
    store(job)


def drop(job_id: int) -> None:
    sql.execute(JobLabel, "DELETE FROM job_labels WHERE job_id = ?", job_id)


def having(labels: Sequence[tuple[str, str]]) -> list[tuple[str, list[Any]]]:
    """Conditions, each with its parameters, for the rows of the first label that belong to jobs with all of these
    labels.
    """
    first, *others = [f"{name}={value}" for name, value in labels]
    another = "EXISTS (SELECT 1 FROM job_labels AS more WHERE more.label = ? AND more.job_id = job_labels.job_id)"
    return [("label = ?", [first]), *[(another, [label]) for label in others]]
