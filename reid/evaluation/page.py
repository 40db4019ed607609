"""Figures, tables and pictures as one HTML file that opens from disk: nothing in it is fetched, everything is
escaped. The page of an evaluation and that of the data.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reid.errors import ReidError, UsageError
from reid.files import existing
from reid.pages import write_html

__all__ = ["PAGE_NAME", "Figure", "Section", "Table", "write_page"]

PAGE_NAME = "evaluation.html"  # of the page, as that of its template
_MEDIA = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Figure:
    """One figure of the table at the top.

    A share is given in 0..1 with the unit ``%`` and shown times a hundred; other units are shown as given.
    """

    value: float
    unit: str = "%"
    low: float | None = None  # confidence interval, in the unit of ``value``
    high: float | None = None
    count: int | None = None  # of what the figure is a mean or a share
    of: str = ""  # what was counted: ``queries``, ``impostor pairs``


@dataclass(frozen=True)
class Table:
    """A table of a section; the first cell of a row is its name."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A part of the page: a heading, a text, pictures as (PNG, SVG or JPEG file, alternative text), and a
    table.
    """

    heading: str
    text: str = ""
    pictures: Sequence[tuple[Path | str, str]] = ()
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class _Picture:
    name: str
    source: str  # the bytes of the file as a data URL
    words: str


def write_page(
    path: Path | str,
    title: str,
    figures: Mapping[str, Figure],
    sections: Sequence[Section | tuple[str, str, Sequence[tuple[Path | str, str]]]],
) -> None:
    """Write the page to ``path``, whole or not at all, with its pictures inside.

    Args:
        path: of the page.
        title: of the page, as plain text; like all texts here it is escaped.
        figures: by name, in the order shown.
        sections: in the order shown; a plain tuple (heading, text, pictures) will do.

    Raises:
        ReidError: there is no figure, a figure is not finite, or a picture has no alternative text.
        UsageError: a picture does not exist or is of an unknown kind.
    """
    if not figures:
        raise ReidError(f"page {path} has no figure to show: give at least one")
    parts = [Section("Figures", table=_figures(figures)), *(Section(*section) for section in sections)]
    shown = [
        {
            "heading": part.heading,
            "text": part.text,
            "table": _checked(part.table),
            "pictures": [_embedded(file, words) for file, words in part.pictures],
        }
        for part in parts
    ]
    write_html(path, "reid.evaluation", PAGE_NAME, title=title, parts=shown)


def _figures(figures: Mapping[str, Figure]) -> Table:
    rows = []
    for name, figure in figures.items():
        numbers = [value for value in (figure.value, figure.low, figure.high) if value is not None]
        if not all(math.isfinite(value) for value in numbers):
            raise ReidError(
                f"figure {name!r} is not finite ({figure.value}, {figure.low}, {figure.high}): leave "
                "it out or measure it again"
            )
        interval = (
            ""
            if figure.low is None or figure.high is None
            else f"{_number(figure.low, figure.unit)} to {_shown(figure.high, figure.unit)}"
        )
        counted = "" if figure.count is None else f"{figure.count:,} {figure.of}".strip()
        rows.append((name, _shown(figure.value, figure.unit), interval, counted))
    head = ("figure", "value", "interval", "measured on")
    shown = [column for column in range(len(head)) if column < 2 or any(row[column] for row in rows)]
    return Table([head[column] for column in shown], [[row[column] for column in shown] for row in rows])


def _number(value: float, unit: str) -> str:
    return f"{100 * value:.1f}" if unit == "%" else f"{value:.4g}"


def _shown(value: float, unit: str) -> str:
    return f"{_number(value, unit)} {unit}".strip()


def _checked(table: Table | None) -> Table | None:
    for row in () if table is None else table.rows:
        if table is not None and len(row) != len(table.header):
            raise ReidError(
                f"a table row has {len(row)} cells under {len(table.header)} headings "
                f"({', '.join(table.header)})"
            )
    return table


def _embedded(path: Path | str, words: str) -> _Picture:
    path = existing(path, "picture")
    media = _MEDIA.get(path.suffix.lower())
    if media is None:
        raise UsageError(
            f"picture {path}: suffix {path.suffix!r} is unknown, want one of {', '.join(_MEDIA)}"
        )
    if not words.strip():
        raise ReidError(f"picture {path} has no alternative text: say in words what it shows")
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return _Picture(path.stem, f"data:{media};base64,{data}", words)
