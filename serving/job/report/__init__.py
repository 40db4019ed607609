"""The report of a job: one HTML file that opens from disk, with its pictures inside and everything from
outside escaped.
"""

from serving.job.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
