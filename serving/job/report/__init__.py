"""The report of a job: one HTML file that opens from disk, with its pictures inside and everything from
outside escaped.
"""

from serving.job.report.page import write_report

__all__ = ["folders", "write_report"]
