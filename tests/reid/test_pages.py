"""Pages: what a page may take the place of."""

from pathlib import Path

import pytest

from reid.errors import UsageError
from reid.pages import write_html


def write(path: Path, title: str) -> None:
    write_html(path, "reid.pages", "base.html", title=title)


def test_a_page_takes_the_place_of_a_page_and_of_no_other_file(tmp_path: Path) -> None:
    page, gallery = tmp_path / "page.html", tmp_path / "people.db"
    page.touch()
    for title in ("One", "Another"):
        write(page, title)
        assert title in page.read_text()
    gallery.write_bytes(b"SQLite format 3\0 and everybody who is known")
    with pytest.raises(UsageError, match=r"people\.db is there and is no page: name another file"):
        write(gallery, "One")
    assert gallery.read_bytes().startswith(b"SQLite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "people.db"]
