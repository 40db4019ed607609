"""Corrections made in a job's report: read from the file that the page gives, and applied to gallery and
tables by ``applying.correct_job``.
"""

__all__ = ["applying"]
