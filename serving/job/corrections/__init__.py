"""Corrections made in a job's report: read from the file that the page gives, and applied to gallery and
tables by ``application.correct_job``.
"""

__all__ = ["application"]
