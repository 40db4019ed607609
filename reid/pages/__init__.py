"""HTML pages that open from disk. Whatever is put into a template is escaped; all pages share the head, the
colours and the macros in ``templates``.
"""

from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from reid.files import atomic_path

__all__ = ["write_html"]


def write_html(path: Path | str, package: str, template: str, **values: object) -> None:
    """Write a page, whole or not at all, for its owner alone to read: it shows people.

    Args:
        path: of the page.
        package: whose folder ``templates`` has the template.
        template: the file's name; it may extend and import those of this package.
        values: what the template shows; a name that it misses is an error.

    Raises:
        ReidError: ``path`` cannot be written.
    """
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
