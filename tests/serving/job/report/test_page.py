import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reid.errors import UsageError
from serving.job.report import write_report
from tests.browser import CTRL, SHIFT, Browser
from tests.serving.job.folders import EVIL, ROWS, folder_of, sighting


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = folder_of(tmp_path / "job", ROWS, [f"camera west: video {EVIL} is cut off"])
    (folder / "annotated-east.webm").touch()
    write_report(folder, folder / "report.html")
    return folder / "report.html"


def test_a_card_says_why_somebody_within_the_limit_is_unknown(tmp_path: Path) -> None:
    tie = sighting("east", 3, "unknown", 70, 80, 0.01) | {"distance": 0.40, "runner_up_distance": 0.41}
    folder = folder_of(tmp_path / "job", [*ROWS, tie])
    write_report(folder, folder / "report.html")
    cards = (folder / "report.html").read_text().split("<article ")[1:]
    assert [card.split('"')[1] for card in cards if "nearly as near" in card] == ["s-east-3"]


def test_the_page_needs_nothing_but_itself(report: Path) -> None:
    text = report.read_text()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text.split("<body>")[0])
    page = Page(text)
    # By person, and by sighting.
    assert [image["src"][:23] for image in page.of("img")] == ["data:image/jpeg;base64,"] * 8
    assert not page.of("link")
    assert all("src" not in script for script in page.of("script"))


def test_what_comes_from_outside_is_text(report: Path) -> None:
    page = Page(report.read_text())
    assert len(page.of("script")) == 1
    assert EVIL not in report.read_text()
    assert EVIL in [option["value"] for option in page.of("option")]
    assert EVIL in [article["data-person"] for article in page.of("article")]


def test_every_picture_says_what_it_shows(report: Path) -> None:
    texts = [image["alt"] for image in Page(report.read_text()).of("img")]
    assert "anna as camera east saw them in frame 25" in texts
    assert all(texts)


def test_uncertain_sightings_come_first(report: Path) -> None:
    order = [float(article["data-certainty"]) for article in Page(report.read_text()).of("article")]
    assert order == sorted(order) == [0.01, 0.2, 0.3, 0.4]


def test_the_timeline_has_a_lane_for_each_person_and_camera(report: Path) -> None:
    page = Page(report.read_text())
    lanes = [one for one in page.of("div") if "data-lane" in one]
    assert len(lanes) == 4
    bars = {one["data-start"]: one["style"] for one in page.of("a") if one.get("style")}
    # The axis goes from the first start (2 s) to the last end (60 s).
    assert (bars["0.00"], bars["48.00"]) == ("--a:0.00;--b:10.00", "--a:48.00;--b:58.00")
    (whole,) = (one for one in page.of("section") if one.get("class") == "timeline")
    assert whole["style"] == "--from:0.00;--to:58.00"
    targets = {article["id"] for article in page.of("article")}
    assert {one["href"][1:] for one in page.of("a") if one.get("style")} == targets


def test_a_sighting_links_to_its_moment_where_there_is_video(report: Path) -> None:
    links = [one["href"] for one in Page(report.read_text()).of("a") if one.get("class") == "watch"]
    assert sorted(links) == ["annotated-east.webm#t=2.0", "annotated-east.webm#t=20.0"]


def test_the_title_names_the_job_and_its_day(report: Path, tmp_path: Path) -> None:
    assert "<title>Camera report job, 2026-05-04</title>" in report.read_text()
    folder = folder_of(tmp_path / "<b>", [sighting("east", 1, "anna", 62, 75, 0.1, clock=False)])
    record = json.loads((folder / "job.json").read_text()) | {"finished": "2026-11-28T10:00:00+00:00"}
    (folder / "job.json").write_text(json.dumps(record))
    write_report(folder, folder / "report.html")
    assert "<title>Camera report &lt;b&gt;, 2026-11-28</title>" in (folder / "report.html").read_text()


def test_people_come_first_named_before_unknown_with_the_line_that_names_them(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "job", ROWS)
    record = json.loads((folder / "job.json").read_text())
    record["job"]["gallery"] = "/data/jobs/../my people.db"
    (folder / "job.json").write_text(json.dumps(record))
    write_report(folder, folder / "report.html", Path("/found/monday"))
    text = (folder / "report.html").read_text()
    page = Page(text)
    people = [one["data-person"] for one in page.of("section") if "data-person" in one]
    assert (people[:1], set(people[1:-1]), people[-1]) == ([EVIL], {"anna"}, "unknown-2")
    blocks = [part.split("</section>")[0] for part in text.split('<section class="person ')[1:]]
    lines = [
        unescape(code) for block in blocks for code in re.findall(r'<code class="copy">(.*?)</code>', block)
    ]
    assert lines == ["reid gallery promote '/data/my people.db' /found/monday unknown-2 NAME"]
    anna = blocks[people.index("anna")]
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", anna))
    assert (
        anna.count("<img "),
        "east 10:00:02 to 10:00:12" in words,
        "west 10:00:40 to 10:00:55" in words,
    ) == (2, True, True)
    assert (
        text.index("<h2>People</h2>")
        < text.index("<h2>Timeline</h2>")
        < text.index('<i class="unknown"></i>unknown</span>')
    )


def test_an_empty_gallery_leaves_nothing_to_be_sure_of(tmp_path: Path) -> None:
    nobody = {
        "nearest": None,
        "distance": None,
        "runner_up": None,
        "runner_up_distance": None,
        "certainty": 2.0,
    }
    folder = folder_of(tmp_path / "job", [ROWS[1] | nobody])
    write_report(folder, folder / "report.html")
    text = (folder / "report.html").read_text()
    assert (len(Page(text).of("meter")), "nobody to compare with: the gallery is empty" in text) == (0, True)


def test_cameras_without_a_clock_share_seconds(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "job", [sighting("east", 1, "anna", 62, 75, 0.1, clock=False)])
    write_report(folder, folder / "report.html")
    text = folder.joinpath("report.html").read_text()
    assert "1:02.0 to 1:15.0" in re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))
    assert [one["data-day-start"] for one in Page(text).of("main")] == [""]


def test_a_lost_crop_is_left_blank(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "job", ROWS)
    shutil.rmtree(folder / "crops")
    write_report(folder, folder / "report.html")
    assert not Page((folder / "report.html").read_text()).of("img")


def test_a_folder_that_is_no_job(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"job record .*job\.json does not exist"):
        write_report(tmp_path, tmp_path / "report.html")


def test_filters_work_in_a_browser(report: Path, browser: Browser) -> None:
    script = """(() => {
      const shown = () =>
        [...document.querySelectorAll("article")].filter(a => !a.hidden).map(a => a.id).join(" ");
      const set = (name, value) => {
        form.elements[name].value = value; form.dispatchEvent(new Event("input", {bubbles: true})); };
      const lines = [shown()];
      const above = what => document.querySelector(what).getBoundingClientRect().top;
      const wide = document.documentElement.scrollWidth;
      lines.push(above("img") < above(".row") && wide <= innerWidth,
        document.querySelectorAll(".person:not([hidden])").length);
      set("person", "anna");
      lines.push(shown(), document.querySelectorAll(".row[data-lane]:not([hidden])").length);
      lines.push(document.querySelectorAll(".person:not([hidden])").length);
      set("camera", "west"); lines.push(shown());
      form.elements.person.value = ""; form.elements.camera.value = ""; set("from", "10:00:45");
      lines.push(shown());
      set("from", ""); set("to", "10:00:15"); lines.push(shown());
      set("to", ""); set("order", "start"); lines.push(shown(), form.querySelector("output").textContent);
      return lines.map(String);
    })()"""
    browser.open(report, 400, 800)
    lines = browser.run(script)
    assert lines == [
        "s-east-2 s-west-1 s-west-2 s-east-1",
        "true",  # on a phone: pictures before the timeline, and nothing to be pushed aside for
        "3",
        "s-west-1 s-east-1",
        "2",
        "1",
        "s-west-1",
        "s-west-1 s-west-2",
        "s-east-1",
        "s-east-1 s-east-2 s-west-1 s-west-2",
        "4 of 4 shown",
    ]


BURSTS = [
    sighting(camera, number, "anna", start + 6 * number, start + 6 * number + 4, 0.2)
    for camera, start in (("entrance-north-3", 0), ("west", 420), ("yard", 860))
    for number in (1, 2)
]
LEFT = """(selector => { const bar = document.querySelector(selector), lane = bar.parentElement;
  const b = bar.getBoundingClientRect(), l = lane.getBoundingClientRect();
  return [(b.left - l.left) / l.width, b.width / l.width].map(x => Math.round(x * 1000) / 1000); })"""


def test_people_zoom_into_a_burst_by_every_means(tmp_path: Path, browser: Browser) -> None:
    folder = folder_of(tmp_path / "job", BURSTS)
    write_report(folder, folder / "report.html")
    browser.open(folder / "report.html")
    first, last = (f'.lane a[href="#s-{one}"]' for one in ("entrance-north-3-1", "yard-2"))

    def shown() -> str:
        return str(browser.run("document.querySelector('.tools output').textContent"))

    def stretch() -> list[float]:
        return [round(one, 3) for one in browser.run("view")]

    assert (browser.run(f"({LEFT})({json.dumps(first)})")[1] < 0.01, shown()) == (True, "")  # a hairline
    assert browser.run("[...document.querySelectorAll('.tools button')].map(b => b.disabled)") == [
        False,
        True,
        True,
        True,
        True,
    ]
    # Dragging over the first burst: its bars fill the lane, and the press on a bar does not follow its link.
    lane = f"{first.split(' a')[0]}:has({first.split()[1]})"
    browser.drag(browser.place(lane, 0.0005), browser.place(lane, 0.0185))
    begin, end = stretch()
    assert begin < 1 and 14 < end < 18
    place, width = browser.run(f"({LEFT})({json.dumps(first)})")
    assert place == pytest.approx((0 - begin) / (end - begin), abs=0.01)
    assert width == pytest.approx(4 / (end - begin), abs=0.01)
    assert shown().startswith("10:00:06") and browser.run("location.hash") == ""
    marks = browser.run("[...document.querySelectorAll('.axis span')].map(s => s.textContent)")
    assert marks[0].startswith("10:00:06") and marks[-1].startswith("10:00:2")
    # Later: nobody is there for minutes, so it goes on to the next burst.
    browser.click('[data-view="later"]')
    assert stretch()[0] < 420 < stretch()[1]
    browser.click('[data-view="whole"]')
    assert stretch() == [0, 870]
    # Ctrl and wheel zoom about the pointer, Shift and wheel move.
    at = browser.place(lane, 0.5)
    browser.wheel(at, -200, CTRL)
    browser.until("view[1] - view[0] < 500")
    begin, end = stretch()
    assert (begin + end) / 2 == pytest.approx(435, abs=3)
    browser.wheel(at, 100, SHIFT)
    browser.until(f"view[0] > {begin} + 1")
    # Keys: the whole, then into the last sighting, which has the focus.
    browser.run("timeline.focus()")
    browser.key("0")
    assert stretch() == [0, 870]
    browser.run(f"document.querySelector({json.dumps(last)}).focus()")
    for _ in range(3):
        browser.key("+")
    assert browser.run(f"({LEFT})({json.dumps(last)})")[1] > 0.2
    browser.run(f"document.querySelector({json.dumps(first)}).focus()")  # one outside comes into sight
    assert stretch()[0] < 10
    browser.key("-")
    browser.key("ArrowRight")
    assert stretch()[0] > 10
    browser.run("show(...whole)")  # the wheel alone is the page's
    browser.wheel(browser.place(lane, 0.5), 10)
    browser.until("scrollY > 0")
    assert stretch() == [0, 870]
    browser.still()
    browser.click(first)  # a press without dragging is still a link
    browser.until("location.hash === '#s-entrance-north-3-1'")


@pytest.mark.parametrize("width", [400, 1200])
def test_no_fact_is_broken_within_a_word(tmp_path: Path, browser: Browser, width: int) -> None:
    """Of every word of a block or a card that is shorter than its line, all letters are on one line."""
    folder = folder_of(tmp_path / "job", BURSTS)
    write_report(folder, folder / "report.html")
    browser.open(folder / "report.html", width)
    broken = browser.run("""[...document.querySelectorAll(".strip .time, .strip b, dt, dd")].flatMap(e => {
      const walk = document.createTreeWalker(e, NodeFilter.SHOW_TEXT), found = [];
      while (walk.nextNode()) for (const word of walk.currentNode.data.matchAll(/[^ -]+/g)) {
        const range = document.createRange();
        range.setStart(walk.currentNode, word.index);
        range.setEnd(walk.currentNode, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(b => Math.round(b.top))).size > 1) found.push(word[0]);
      }
      return found;
    })""")
    assert broken == []
    assert browser.run("document.querySelectorAll('.strip .time, dd').length") > 20
    assert browser.run("document.documentElement.scrollWidth") == width
