"""The name under which callers from outside know :mod:`serving.job.run`."""

from serving.job.progress import Progress
from serving.job.run import Execution, JobResult, run_job

__all__ = ["Execution", "JobResult", "Progress", "run_job"]
