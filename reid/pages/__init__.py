"""HTML pages that open from disk. Whatever is put into a template is escaped; all pages share the head, the
colours and the macros in ``templates``.
"""

from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from reid.errors import UsageError
from reid.files import atomic_path
from reid.system_errors import os_problem

__all__ = ["check_page", "write_html"]

_HEAD = b"<!doctype html"


def write_html(path: Path | str, package: str, template: str, **values: object) -> None:
    """Write a page, whole or not at all, for its owner alone to read: it shows people.

    Args:
        path: of the page.
        package: whose folder ``templates`` has the template.
        template: the file's name; it may extend and import those of this package.
        values: what the template shows; a name that it misses is an error.

    Raises:
        UsageError: as :func:`check_page`.
        ReidError: ``path`` cannot be written.
    """
    path = Path(path)
    check_page(path)
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("reid.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pieces = environment.get_template(template).generate(values)
    # Names of folders may have bytes that are no text. The pieces of a large page are millions of objects:
    # they are written as they come.
    with (
        atomic_path(path, mode=0o600) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.writelines(pieces)


def check_page(path: Path) -> None:
    """Refuse a place that a page may not take, before the work for it.

    Raises:
        UsageError: it is a folder, or a file and no page, as a gallery that somebody named by mistake.
        ReidError: it cannot be read.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it, as {path / 'answer.html'}")
    if path.is_file() and not _may_be_replaced(path):
        raise UsageError(f"{path} is there and is no page: name another file, or remove it")


def _may_be_replaced(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(len(_HEAD))
    except OSError as error:
        raise os_problem(error, path) from error
    return not head or head.lower() == _HEAD
