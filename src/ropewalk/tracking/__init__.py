"""Every job is one MLflow run, and no job depends on MLflow.

A stage knows nothing of tracking. `run_tracked` runs its command as a child process and keeps a *record* of it: a small
JSON file that says what ran, when, and how it ended. Records are what is delivered to MLflow, as soon as it can be
reached: by the job itself, by the next job, or by `deliver`. A server that is away or slow never fails a job.

Delivery may be cut off anywhere and repeated. A run carries the id of its record as a tag and is looked for before it
is created; a metric carries the time of its own line, and MLflow's SQL store drops a (key, time, step, value) that it
already has. Only `store` knows MLflow, and it imports it only when something is sent: the import takes seconds, which
pass while the child runs.
"""

from __future__ import annotations

from ropewalk.tracking.delivery import Delivery, deliver
from ropewalk.tracking.jobs import run_tracked
from ropewalk.tracking.records import Job, pending
from ropewalk.tracking.store import COPY_UP_TO, tracking_uri

__all__ = ["COPY_UP_TO", "Delivery", "Job", "deliver", "pending", "run_tracked", "tracking_uri"]
