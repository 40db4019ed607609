import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reid.errors import UsageError
from serving.job.report import write_report
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
    assert [image["src"][:23] for image in page.of("img")] == [
        "data:image/jpeg;base64,"
    ] * 8  # by person, and by sighting
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
    assert bars["0.00"] == f"left:0.00%;width:{100 * 10 / 58:.2f}%"
    assert bars["48.00"] == f"left:{100 * 48 / 58:.2f}%;width:{100 * 10 / 58:.2f}%"
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
    blocks = text.split('<section class="person ')[1:]
    lines = [
        unescape(code) for block in blocks for code in re.findall(r'<code class="copy">(.*?)</code>', block)
    ]
    assert lines == ["reid gallery promote '/data/my people.db' /found/monday unknown-2 NAME"]
    anna = blocks[people.index("anna")]
    assert (
        anna.count("<img "),
        "east 10:00:02 to 10:00:12" in anna,
        "west 10:00:40 to 10:00:55" in anna,
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
    assert "1:02.0 to 1:15.0" in text
    assert "const dayStart = null" in text


def test_a_lost_crop_is_left_blank(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "job", ROWS)
    shutil.rmtree(folder / "crops")
    write_report(folder, folder / "report.html")
    assert not Page((folder / "report.html").read_text()).of("img")


def test_a_folder_that_is_no_job(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"job record .*job\.json does not exist"):
        write_report(tmp_path, tmp_path / "report.html")


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def in_browser(page: Path, script: str, profile: Path) -> str:
    """The text that ``script`` leaves in an element of a page after it was loaded."""
    probe = page.with_name("probe.html")
    probe.write_text(
        page.read_text().replace("</body>", f"<pre id=probe></pre><script>{script}</script></body>")
    )
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
    ]
    command += [
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={profile}",
        "--window-size=400,800",
        "--virtual-time-budget=5000",
        "--dump-dom",
        probe.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL).group(1)


@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the report with")
def test_filters_work_in_a_browser(report: Path, tmp_path: Path) -> None:
    script = """
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
      document.getElementById("probe").textContent = lines.join("|");
    """
    lines = in_browser(report, script, tmp_path / "profile").split("|")
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
