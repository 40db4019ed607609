"""Every page, opened in a real browser, shows names, cameras, files and tags full of markup as text: nothing
in them runs or loads.
"""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.model.evaluation import choose_images, run_evaluation
from pipelines.model.evaluation_files import write_results
from pipelines.pages.data import write_data_page
from reid.data.catalog import Record, read_catalog, write_catalog
from reid.data.checks import inspect
from serving.job.layout import SIGHTINGS
from serving.job.report import write_report
from tests.browser import Browser
from tests.serving.job.folders import folder_of, sighting
from tests.serving.tiny_models import HEIGHT, WIDTH, tiny_model

# Each would do something if it were taken for markup: run, load a file, close an attribute, a script or a
# comment, or be mathematics.
EVILS = (
    "<script>document.title='ran'</script>",
    "<img src=x onerror=\"document.title='ran'\">",
    '" onmouseover="document.title=\'ran\'" autofocus onfocus="document.title=\'ran\'" x="',
    "'><svg onload=\"document.title='ran'\">",
    "</title></style></script><script>document.title='ran'</script>",
    "<!-- <iframe src='file:///etc/passwd'></iframe>",
    "javascript:document.title='ran'",
    "$x^ ${title} $title {{7*7}} %s &lt;b&gt; &#60;i&#62;",
    "\u202egnp.exe",
)
LOOK = """(async () => {
  const bad = [...document.querySelectorAll("iframe, object, embed, link, base, form[action], svg")]
    .map(e => e.outerHTML.slice(0, 80));
  const loads = performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:"));
  const all = [...document.querySelectorAll("*")];
  const attributes = all.flatMap(e => [...e.attributes].map(a => a.name))
    .filter(name => name.startsWith("on"));
  for (const e of all) e.dispatchEvent(new Event("mouseover", {bubbles: false}));
  await new Promise(done => setTimeout(done, 200));
  return {title: document.title, bad, loads, attributes, scripts: document.scripts.length,
    text: document.body.innerText,
    values: [...document.querySelectorAll("option")].map(o => o.value).join(" "),
    alts: [...document.images].map(i => i.alt).join(" "),
    broken: [...document.images].filter(i => !i.naturalWidth).length};
})()"""


def look(browser: Browser, page: Path) -> dict[str, object]:
    """What a browser makes of a page, after all that could run has had the time to."""
    browser.open(page)
    return dict(browser.run(LOOK))


def check(seen: dict[str, object], title: str, scripts: int) -> None:
    assert seen["title"] == title
    assert (seen["bad"], seen["loads"], seen["attributes"], seen["broken"]) == ([], [], [], 0)
    assert seen["scripts"] == scripts


def squeezed(text: object) -> str:
    return re.sub(r"\s+", " ", str(text))


def test_the_report_of_a_job(tmp_path: Path, browser: Browser) -> None:
    """Cameras, too, although a job's cameras cannot have such names: a job folder may be of another
    program.
    """
    rows = [
        sighting("hall", number, evil, 2.0 * number, 2.0 * number + 1, 0.1)
        for number, evil in enumerate(EVILS)
    ]
    rows += [sighting("hall", 9, "unknown", 40, 41, 0.1) | {"nearest": EVILS[0], "runner_up": EVILS[1]}]
    folder = folder_of(
        tmp_path / EVILS[1], rows, [f"camera {evil}: video {evil} is cut off" for evil in EVILS]
    )
    table = pq.read_table(folder / "sightings.parquet").to_pylist()
    for row, evil in zip(table, EVILS, strict=False):
        row["camera"], row["crop"] = evil, f"crops/hall-{row['tracklet']:05d}.jpg"
    pq.write_table(pa.Table.from_pylist(table, schema=SIGHTINGS), folder / "sightings.parquet")
    record = json.loads((folder / "job.json").read_text())
    record["job"] |= {
        "cameras": [{"id": evil} for evil in EVILS],
        "detector": {"name": EVILS[1]},
        "tracker": {"name": EVILS[2]},
    }
    record["job"]["gallery"] = EVILS[0]
    record["model"], record["decision"]["from"] = {"name": EVILS[3], "fingerprint": EVILS[4]}, EVILS[5]
    (folder / "job.json").write_text(json.dumps(record))
    write_report(folder, folder / "report.html")
    seen = look(browser, folder / "report.html")
    check(seen, f"Camera report {EVILS[1]}, 2026-05-04", scripts=1)
    for evil in EVILS:
        assert squeezed(evil) in squeezed(seen["text"])
        assert evil in str(seen["values"])


def pictures(folder: Path, names: list[str]) -> list[Path]:
    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    for name in names:
        path = folder / name
        path.write_bytes(
            cv2.imencode(".png", rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
        )
        paths.append(path)
    return paths


FILES = [evil.replace("/", "\u2215") for evil in EVILS]


def test_the_page_about_the_data(tmp_path: Path, browser: Browser) -> None:
    paths = pictures(tmp_path / "images", [f"{name}_{camera}.png" for name in FILES for camera in "12"])
    paths[0].write_bytes(b"no picture")
    splits = ("train", "query", "gallery")
    records = [
        Record(path, EVILS[row // 2], EVILS[row % 2], splits[row % 3]) for row, path in enumerate(paths)
    ]
    policies = {
        "unreadable": "leave_out",
        "empty": "leave_out",
        "not_an_image": "leave_out",
        "truncated": "leave_out",
    }
    kept = (
        "tiny",
        "non_rgb",
        "exif_rotated",
        "duplicate",
        "near_duplicate",
        "split_leak",
        "identity_conflict",
    )
    more = ("identity_in_train_and_test", "single_image", "single_camera", "one_camera", "no_match")
    done = inspect(records, tmp_path, policies | dict.fromkeys((*kept, *more), "keep"))
    write_catalog(done.rows, tmp_path / "catalog.parquet")
    write_data_page(
        tmp_path / "data_report.html",
        read_catalog(tmp_path / "catalog.parquet"),
        done.problems,
        done.images_in,
        list(EVILS),
    )
    seen = look(browser, tmp_path / "data_report.html")
    check(seen, "Data report", scripts=0)
    assert f"{FILES[0]}_1.png" in str(seen["text"])
    for evil in EVILS:
        assert squeezed(evil) in squeezed(seen["text"])
        assert evil in str(seen["alts"]) or EVILS.index(evil) > 5


def test_the_page_of_an_evaluation(tmp_path: Path, browser: Browser) -> None:
    paths = pictures(tmp_path / "images", [f"{name}_{camera}.png" for name in FILES for camera in "12"])
    rows = [
        {
            "path": f"images/{path.name}",
            "identity": EVILS[row // 2],
            "camera": EVILS[row % 2],
            "width": WIDTH,
            "height": HEIGHT,
        }
        | {"split": ("query", "gallery")[row % 2], "sha256": str(row)}
        for row, path in enumerate(paths)
    ]
    write_catalog(rows, tmp_path / "catalog.parquet")
    tiny_model(tmp_path / "model", card={"name": EVILS[0]})
    images = choose_images(None, None, tmp_path / "catalog.parquet", None, None)
    result = run_evaluation(
        tmp_path / "model", images, rerank=False, bootstrap=5, seed=0, backend="onnxruntime"
    )
    write_results(result, tmp_path / "out", seed=0)
    seen = look(browser, tmp_path / "out" / "evaluation.html")
    check(seen, f"Evaluation of {EVILS[0]}", scripts=0)
    assert EVILS[0] in str(seen["text"])
