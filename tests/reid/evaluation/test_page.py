import base64
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid.errors import ReidError, UsageError
from reid.evaluation.page import Figure, Section, Table, write_page
from tests.browser import Browser

EVIL = '<script>alert("x")</script>&\'"$title'


class Page(HTMLParser):
    """The elements of a page and its visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "chart.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 700, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def page(tmp_path: Path, picture: Path) -> Path:
    vector = tmp_path / "curve.svg"
    vector.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 7 4"><rect width="7" height="4"/></svg>'
    )
    table = Table(("cameras", "rank-1", EVIL), [("c1 to c2", "91.0 %", "33"), (EVIL, "80.0 %", "12")])
    figures = {
        "rank-1": Figure(0.876, low=0.80, high=0.95, count=3368, of="queries"),
        "EER threshold": Figure(1.0625, "distance"),
        EVIL: Figure(0.5, EVIL, count=4, of=EVIL),
    }
    sections = [
        (EVIL, EVIL, [(picture, EVIL), (vector, "A black curve.")]),
        Section("Cameras", "By pair.", table=table),
    ]
    path = tmp_path / "out" / "evaluation.html"
    write_page(path, f"Evaluation of {EVIL}", figures, sections)
    return path


def test_the_page_needs_nothing_but_itself(page: Path, picture: Path) -> None:
    parsed = Page(page)
    sources = [str(image["src"]) for image in parsed.of("img")]
    assert [source.split(",")[0] for source in sources] == [
        "data:image/png;base64",
        "data:image/svg+xml;base64",
    ]
    assert base64.b64decode(sources[0].split(",")[1]) == picture.read_bytes()
    assert not parsed.of("link") and not parsed.of("script")
    assert all(str(link["href"]).startswith("#part-") for link in parsed.of("a"))
    assert not re.search(r"@import|url\(", page.read_text())


def test_what_comes_from_outside_is_text(page: Path) -> None:
    assert EVIL not in page.read_text()
    text = re.sub(r"\s+", " ", Page(page).text)
    # Twice as title, twice as heading, then text, caption, a figure's name, unit and count, a table's head
    # and a row's name.
    assert text.count(EVIL) == 11


def test_figures_have_units_intervals_and_counts(page: Path) -> None:
    text = re.sub(r"\s+", " ", Page(page).text)
    assert "rank-1 87.6 % 80.0 to 95.0 % 3,368 queries" in text
    assert "EER threshold 1.062 distance" in text


def test_links_reach_their_parts_and_pictures_say_what_they_show(page: Path) -> None:
    parsed = Page(page)
    assert [str(link["href"])[1:] for link in parsed.of("a")] == [part["id"] for part in parsed.of("section")]
    assert [image["alt"] for image in parsed.of("img")] == [EVIL, "A black curve."]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, picture: Path) -> None:
    for name in ("a", "b"):
        write_page(tmp_path / name, "t", {"f": Figure(0.1)}, [("h", "t", [(picture, "w")])])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("figures", "sections", "error", "words"),
    [
        ({}, [], ReidError, "has no figure"),
        ({"mAP": Figure(float("nan"))}, [], ReidError, "'mAP' is not finite"),
        ({"mAP": Figure(0.5, low=0.1, high=float("inf"))}, [], ReidError, "'mAP' is not finite"),
        (
            {"mAP": Figure(0.5)},
            [("h", "t", [("chart.png", " ")])],
            ReidError,
            r"chart\.png has no alternative text",
        ),
        ({"mAP": Figure(0.5)}, [("h", "t", [("gone.png", "w")])], UsageError, r"gone\.png does not exist"),
        ({"mAP": Figure(0.5)}, [("h", "t", [("chart.bmp", "w")])], UsageError, r"'\.bmp' is unknown"),
        (
            {"mAP": Figure(0.5)},
            [Section("h", table=Table(("a", "b"), [("1",)]))],
            ReidError,
            "1 cells under 2 headings",
        ),
    ],
)
def test_bad_input_leaves_the_old_page(
    tmp_path, picture, monkeypatch, figures, sections, error, words
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    shutil.copy(picture, "chart.bmp")
    Path("page.html").write_text("old")
    with pytest.raises(error, match=words) as caught:
        write_page("page.html", "t", figures, sections)
    assert "\n" not in str(caught.value)
    assert Path("page.html").read_text() == "old"
    assert not list(tmp_path.glob(".page*"))


LOOK = """(() => {
  const linear = c => (c / 255) ** 2.2;
  const light = colour => {
    const [r, g, b] = colour.match(/\\d+/g).map(linear); return .2126 * r + .7152 * g + .0722 * b; };
  const root = document.documentElement, image = document.querySelector("img");
  const look = name => window.getComputedStyle(document.querySelector(name));
  return {
    whole: root.scrollWidth, visible: root.clientWidth, title: document.title,
    size: parseFloat(look("p").fontSize),
    loaded: image.naturalWidth, shown: image.clientWidth, box: image.parentElement.clientWidth,
    page: light(look("body").backgroundColor), panel: light(look("section").backgroundColor),
    text: light(look("body").color), note: light(look("figcaption").color)}; })()"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_page_is_readable_on_a_phone_in_dark_and_light(page: Path, browser: Browser, scheme: str) -> None:
    browser.open(page, 390, 844, scheme)
    found = browser.run(LOOK)
    assert found["title"] == f"Evaluation of {EVIL}"
    assert found["whole"] == found["visible"] <= 390, "the page scrolls sideways"
    assert found["loaded"] == 700, "the picture is not decoded"
    assert found["shown"] >= 480 > 390 > found["box"], (
        "a chart is too small to read, or sticks out of its box"
    )
    assert found["size"] >= 16
    assert (found["page"] < 0.1) is (scheme == "dark")
    for ink in ("text", "note"):
        high, low = sorted((found[ink], found["panel"]), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink} is hard to read"


def test_the_page_can_be_photographed(page: Path, tmp_path: Path, browser: Browser) -> None:
    shot = tmp_path / "shot.png"
    browser.open(page, 900, 1200)
    browser.picture(shot)
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] == 900
    # The noise of the picture has more colours than a page of text alone.
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10_000
