"""A page over many finished jobs: how many people a day and a camera, when, and which unknown ones return."""

from serving.job.dashboard.page import write_dashboard

__all__ = ["write_dashboard"]
