"""Corrections made in a report's page, in a real browser, and applied to a real job and its gallery."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipelines.cli import app
from reid.errors import ReidError
from serving.gallery import Gallery
from serving.job.corrections.document import sightings_digest
from serving.job.corrections.plan import plan_corrections
from serving.job.layout import Key
from serving.job.report import write_report
from serving.job.run import Execution, run_job
from serving.job.stranger_file import read_strangers
from serving.spec import load_job
from tests.browser import Browser
from tests.serving.execution_job import SEGMENT_S, make_place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """anna and bert are known, twice and once seen; carl, whom nobody knows, walks through both cameras."""
    place = make_place(tmp_path_factory.mktemp("corrections") / "place")
    job = yaml.safe_load((place / "job.yaml").read_text())
    job["outputs"] |= {"report": True}
    (place / "job.yaml").write_text(yaml.safe_dump(job))
    run_job(load_job(place / "job.yaml"), place / "found", execution=Execution(SEGMENT_S))
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(made, tmp_path / "place"))
    record = json.loads((copy / "found" / "job.json").read_text())
    record["job"]["gallery"] = str(copy / "gallery.db")
    (copy / "found" / "job.json").write_text(json.dumps(record))
    write_report(copy / "found", copy / "found" / "report.html")
    return copy


def people(place: Path) -> dict[str, str]:
    rows = pq.read_table(place / "found" / "sightings.parquet").to_pylist()
    return {f"{row['camera']}:{row['tracklet']}": row["provisional"] or row["identity"] for row in rows}


def written(place: Path, corrections: list[dict[str, object]], **other: object) -> Path:
    rows = pq.read_table(place / "found" / "sightings.parquet").to_pylist()
    value = {"schema": 1, "job": sightings_digest(rows), "corrections": corrections}
    path = place / "corrections.json"
    path.write_text(json.dumps(value | other))
    return path


def apply(place: Path, path: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["report", str(place / "found"), "--corrections", str(path), *more])


def everything(place: Path) -> dict[str, bytes]:
    files = [path for path in (place / "found").rglob("*") if path.is_file()]
    with Gallery.open(place / "gallery.db", None, create=False, read_only=True) as gallery:
        state = repr((gallery.version, gallery.people(), gallery.audit()))
    return {str(path.relative_to(place)): path.read_bytes() for path in files} | {"gallery": state.encode()}


def test_corrections_made_in_the_page_reach_gallery_and_tables(
    place: Path, tmp_path: Path, browser: Browser
) -> None:
    before = people(place)
    (carl,) = {name for name in before.values() if name.startswith("unknown-")}
    strange, annas = (
        [one for one in before if before[one] == carl],
        [o for o in before if before[o] == "anna"],
    )
    (bert,) = (one for one in before if before[one] == "bert")
    assert (len(strange), len(annas)) == (2, 2)
    downloads = tmp_path / "downloads"
    downloads.mkdir()

    def button(where: str) -> str:
        return f"{where} button.correct"

    def card(sighting: str) -> str:
        return "#s-" + sighting.replace(":", "-")

    browser.open(place / "found" / "report.html")
    browser.downloads_into(downloads)
    browser.click(button(f'.person[data-person="{carl}"] >'))
    browser.type("#correcting input", "Carl <b>")
    browser.click('#correcting button[value="who"]')
    browser.click(button(card(bert)))
    browser.click('#correcting button[value="nobody"]')
    browser.click(button(card(annas[0])))
    browser.click('#correcting button[value="new"]')
    browser.click(button(card(annas[1])))  # taken back
    browser.click('#correcting button[value="new"]')
    browser.click('[data-do="undo"]')
    shown = browser.run("[...document.querySelectorAll('#corrections li')].map(l => l.textContent)")
    assert shown == [
        f"{carl} is called Carl <b>",
        f"{bert} shows nobody",
        f"{annas[0]} of anna shows unknown-2",
    ]
    assert browser.run(f"document.querySelector('{card(bert)} h3').textContent").endswith("not a person")
    assert browser.run("document.querySelectorAll('#corrections b b, .now b').length") == 0
    browser.click('[data-do="save"]')
    saved = downloads / "corrections.json"
    deadline = time.monotonic() + 60
    while not saved.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    command = browser.run("document.querySelector('#corrections code').textContent")
    assert command == f"reid report {place / 'found'} --corrections corrections.json"
    assert [one["action"] for one in json.loads(saved.read_text())["corrections"]] == [
        "name",
        "not_a_person",
        "split",
    ]
    result = apply(place, saved)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (
        0,
        "3 corrections applied; now in the gallery: Carl <b>",
    )
    assert f"{annas[0]}: corrected in the tables alone" in result.stderr
    wanted = before | dict.fromkeys(strange, "Carl <b>") | {annas[0]: "unknown-2"}
    del wanted[bert]
    assert people(place) == wanted
    check_folder(place, wanted, bert)
    with Gallery.open(place / "gallery.db", None, create=False, read_only=True) as gallery:
        assert [(one.identity, one.references) for one in gallery.people()] == [
            ("Carl <b>", 2),
            ("anna", 1),
            ("bert", 1),
        ]
        assert [one.action for one in gallery.audit()][-2:] == ["enroll", "correct"]
    done = everything(place)
    again = apply(place, saved)
    assert (again.exit_code, again.stdout.startswith("already applied")) == (0, True)
    assert everything(place) == done


def check_folder(place: Path, wanted: dict[str, str], gone: str) -> None:
    """All files of the output say the same."""
    found = place / "found"
    boxes = pq.read_table(found / "detections.parquet").to_pylist()
    said = {f"{row['camera']}:{row['tracklet']}": row["identity"] for row in boxes}
    assert said == {one: "unknown" if who.startswith("unknown-") else who for one, who in wanted.items()}
    record = json.loads((found / "job.json").read_text())
    unknown = sum(who.startswith("unknown-") for who in wanted.values())
    assert [record["counts"][key] for key in ("sightings", "named", "unknown", "detections")] == [
        len(wanted),
        len(wanted) - unknown,
        unknown,
        len(boxes),
    ]
    assert sum(one["sightings"] for one in record["counts"]["cameras"].values()) == len(wanted)
    assert not (found / "crops" / f"{gone.replace(':', '-0000')}.jpg").exists()
    assert len(list((found / "crops").iterdir())) == len(wanted)
    assert read_strangers(found).rows == ()  # those of carl have a name; of the other no embedding was kept
    text = (found / "report.html").read_text()
    assert text.count("set by hand") == 3 and "Carl &lt;b&gt;" in text


def test_wrong_files_are_one_line_and_change_nothing(place: Path) -> None:
    before = everything(place)
    name: dict[str, object] = {"action": "name", "person": "unknown-1", "name": "carl"}
    for corrections, other, expected in (
        ([name], {"job": "0" * 32}, "is of another job"),
        ([name | {"person": "unknown-77"}], {}, "nobody is called 'unknown-77'"),
        ([name, {"action": "not_a_person", "sightings": ["one:99"]}], {}, "no sighting 'one:99'"),
        ([name | {"name": "unknown"}], {}, "choose another name"),
        ([name | {"more": 1}], {}, "save it from the page again"),
        ([name], {"schema": 2}, "save it from the page again"),
    ):
        result = apply(place, written(place, corrections, **other))
        assert isinstance(result.exception, ReidError)
        assert expected in str(result.exception) and "\n" not in str(result.exception)
    (place / "corrections.json").write_text("{")
    assert isinstance(apply(place, place / "corrections.json").exception, ReidError)
    assert everything(place) == before


_HELPER = """
import os, signal, sys
from pathlib import Path
import reid.files, serving.job.report
from serving.gallery import Gallery
from serving.job.corrections import application

folder, source = Path(sys.argv[1]), Path(sys.argv[2])
kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
def after(call):
    def both(*a, **k):
        call(*a, **k)
        kill()
    return both
points = {"tables": (application, "write_report", kill), "gallery": (Gallery, "correct", kill),
          "between": (Gallery, "correct", after(Gallery.correct)),
          "swap": (reid.files, "_put", after(reid.files._put))}
for name in sys.argv[3:]:
    if not (child := os.fork()):
        owner, what, instead = points[name]
        setattr(owner, what, instead)
        application.correct_job(folder, source)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, name
    seen = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    print(len(seen), (folder / "job.json").read_text().count('"applied"'))
"""


def test_killed_at_any_point_the_folder_is_whole_and_the_same_command_ends_it(place: Path) -> None:
    path = written(place, [{"action": "name", "person": "unknown-1", "name": "carl"}])
    before = everything(place)
    points = ["tables", "gallery", "between", "swap"]
    helper = subprocess.run(
        [sys.executable, "-c", _HELPER, str(place / "found"), str(path), *points],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ,
    )
    assert helper.returncode == 0, helper.stderr
    files = str(len(before) - 1)
    # Whole each time: as it was until the last point, then as it will be.
    assert [line.split() for line in helper.stdout.splitlines()] == [[files, "0"]] * 3 + [[files, "1"]]
    assert "carl" in people(place).values()
    result = apply(place, path)
    assert result.stdout.startswith("already applied")
    with Gallery.open(place / "gallery.db", None, create=False, read_only=True) as gallery:
        assert [one.references for one in gallery.people() if one.identity == "carl"] == [2]
        assert [one.action for one in gallery.audit()].count("correct") == 1


def test_a_job_that_is_run_again_says_which_corrections_it_undoes(place: Path) -> None:
    shutil.rmtree(place / "found")

    def again() -> tuple[str, ...]:
        job = load_job(place / "job.yaml")
        return run_job(job, place / "found", execution=Execution(SEGMENT_S)).notes

    assert not any("corrections" in line for line in again())
    (anna, *_) = (one for one, who in people(place).items() if who == "anna")
    (bert,) = (one for one, who in people(place).items() if who == "bert")
    assert (
        apply(
            place,
            written(
                place,
                [
                    {"action": "name", "person": "unknown-1", "name": "carl"},
                    {"action": "split", "person": "anna", "sightings": [anna], "into": "zoe"},
                    {"action": "not_a_person", "sightings": [bert]},
                ],
            ),
        ).exit_code
        == 0
    )
    assert people(place)[anna] == "zoe" and bert not in people(place)
    (told,) = (line for line in again() if "corrections" in line)
    # carl, whom the gallery has learned, is no matter of these.
    assert "undone, of 2 sightings: " in told
    assert f"{anna} (zoe)" in told and f"{bert} (not a person)" in told
    assert people(place)[anna] == "anna" and "carl" in people(place).values()
    assert again() == ()  # said once: nothing is left to undo


def test_without_a_gallery_one_is_named(place: Path) -> None:
    record = json.loads((place / "found" / "job.json").read_text())
    record["job"]["gallery"] = None
    (place / "found" / "job.json").write_text(json.dumps(record))
    path = written(place, [{"action": "name", "person": "unknown-1", "name": "carl"}])
    assert "name one with --gallery FILE" in str(apply(place, path).exception)
    assert apply(place, path, "--gallery", str(place / "new.db")).exit_code == 0
    with Gallery.open(place / "new.db", None, create=False, read_only=True) as gallery:
        assert [(one.identity, one.references) for one in gallery.people()] == [("carl", 2)]


def rows(**people: str) -> list[dict[str, object]]:
    return [
        {
            "camera": key[0],
            "tracklet": int(key[1:]),
            "identity": "unknown" if who.startswith("unknown-") else who,
            "provisional": who if who.startswith("unknown-") else None,
        }
        for key, who in people.items()
    ]


SEEN = rows(a1="unknown-1", a2="unknown-2", a3="anna", b1="unknown-1", b2="bert", b3="anna")


def planned(*corrections: dict[str, object]) -> tuple[dict[Key, str], dict[str, int], list[str]]:
    from serving.job.corrections.document import _Document

    value = {"schema": 1, "job": "", "corrections": list(corrections)}
    plan = plan_corrections(SEEN, ["anna", "bert", "zoe"], _Document.model_validate(value).corrections)
    steps = [f"{one.func.__name__} {' '.join(one.keywords.values())}" for one in plan.steps]  # type: ignore[attr-defined]
    return plan.now, {name: len(keys) for name, keys in plan.promoted.items()}, steps


def name(person: str, text: str) -> dict[str, object]:
    return {"action": "name", "person": person, "name": text}


def merge(person: str, into: str) -> dict[str, object]:
    return {"action": "merge", "person": person, "into": into}


def test_corrections_are_played_in_their_order() -> None:
    now, promoted, steps = planned(
        name("unknown-1", "carl"), merge("unknown-2", "carl"), name("carl", "Carl")
    )
    assert (promoted, steps) == ({"Carl": 3}, [])
    now, promoted, steps = planned(name("anna", "Anna"), merge("Anna", "zoe"), merge("unknown-2", "zoe"))
    assert (promoted, steps) == ({"zoe": 1}, ["rename_in anna Anna", "merge_in Anna zoe"])
    assert [now["a", 3], now["b", 3]] == ["zoe", "zoe"]
    now, promoted, steps = planned(name("unknown-1", "carl"), merge("anna", "carl"))
    assert (promoted, steps) == ({"carl": 2}, ["rename_in anna carl"])
    split = {"action": "split", "person": "anna", "sightings": ["b:3"]}
    now, promoted, steps = planned(split, merge("unknown-3", "unknown-2"))
    assert (now["b", 3], now["a", 3], promoted, steps) == ("unknown-2", "anna", {}, [])


@pytest.mark.parametrize(
    ("corrections", "expected"),
    [
        ([name("carl", "Carl")], "nobody is called 'carl'"),
        ([name("anna", "bert")], "'bert' is somebody already: merge"),
        ([name("unknown-1", "unknown-9")], "choose another name"),
        ([merge("anna", "unknown-1")], "merge 'unknown-1' into 'anna'"),
        ([merge("unknown-1", "unknown-1")], "into itself"),
        ([merge("unknown-1", "unknown-5")], "nobody is called 'unknown-5'"),
        ([{"action": "split", "person": "anna", "sightings": ["a:1"]}], "is of 'unknown-1', not of 'anna'"),
        ([{"action": "not_a_person", "sightings": ["a:1"]}] * 2, "no sighting 'a:1'"),
    ],
)
def test_what_cannot_be_is_refused(corrections: list[dict[str, object]], expected: str) -> None:
    with pytest.raises(ReidError, match=expected):
        planned(*corrections)
