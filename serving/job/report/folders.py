"""Folders and files that a command names beside finished jobs: the same job twice, a job where pictures are
wanted, a page in the place of a job's own.
"""

from collections.abc import Sequence
from pathlib import Path

from reid.errors import UsageError
from reid.pages import check_page
from serving.job.layout import JobFolder

__all__ = ["check_free_page", "distinct", "is_output"]


def distinct(folders: Sequence[Path]) -> list[Path]:
    """The folders in their order, each once however it is spelled, as it is spelled first."""
    first: dict[Path, Path] = {}
    for folder in folders:
        first.setdefault(folder.resolve(), folder)
    return list(first.values())


def is_output(folder: Path) -> bool:
    """Whether it is what a job wrote."""
    return folder.is_dir() and JobFolder(folder).record.is_file()


def check_free_page(path: Path) -> None:
    """Refuse a place where no page over finished jobs may be written.

    Raises:
        UsageError: it is a folder, a file that is no page, or the report of a job.
    """
    check_page(path)
    job = JobFolder(path.resolve().parent)
    if path.resolve() == job.report and is_output(job.path):
        raise UsageError(
            f"{path} is the place of that job's own report: name another file, or write that one by "
            f"reid report {path.parent}"
        )
