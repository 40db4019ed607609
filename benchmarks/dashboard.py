"""The page over many jobs at 100,000 sightings: how long it takes to write, to open in headless Chromium, to
turn a page and to look through all sightings, and the longest that the page does not answer.
"""

import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _measure import arguments, report

from reid.errors import ReidError
from reid.files import write_json
from serving.job.dashboard import write_dashboard
from serving.job.layout import SIGHTINGS, JobFolder, crop_name

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.browser import CHROMIUM, Browser, chromium

_LONG_TASKS = (
    "window.longest = 0; new PerformanceObserver(list => { for (const one of list.getEntries()) "
    "longest = Math.max(longest, one.duration); }).observe({ type: 'longtask', buffered: true })"
)


def write_job(folder: Path, day: int, count: int, cameras: int, rng: np.random.Generator) -> None:
    """A day of made-up people: a tenth enrolled, the others unknown."""
    folder.mkdir(parents=True)
    start = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=day)
    seconds = np.sort(rng.uniform(6 * 3600, 22 * 3600, count))
    who = rng.integers(0, max(count // 4, 1), count)
    rows = []
    for number, (at, person) in enumerate(zip(seconds, who, strict=True)):
        camera, known = f"camera-{number % cameras:02d}", person % 10 == 0
        moment = start + timedelta(seconds=float(at))
        rows.append(
            dict.fromkeys(SIGHTINGS.names, 1)
            | {"camera": camera, "tracklet": number, "start_time": moment}
            | {"end_time": moment + timedelta(seconds=20), "crop": crop_name(camera, number)}
            | {"identity": f"person-{person}" if known else "unknown"}
            | {"provisional": None if known else f"unknown-{person}", "nearest": None, "runner_up": None}
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=SIGHTINGS), JobFolder(folder).sightings)
    record = {"job": {"cameras": [], "gallery": "people.db"}, "finished": "2026-06-01T00:00:00+00:00"}
    write_json(JobFolder(folder).record, record)


def measured(browser: Browser, page: Path, rounds: int) -> dict[str, float]:
    """Milliseconds: medians over the rounds, of what the browser itself says."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        browser.open(page)
        browser.until("document.querySelectorAll('article').length > 0")
        browser.run(_LONG_TASKS)
        entry = "performance.getEntriesByType('navigation')[0]"
        found.setdefault("open", []).append(browser.run(f"{entry}.loadEventEnd"))
        turned = "(() => { const t = performance.now(); document.querySelector('[data-go=\"1\"]').click(); "
        found.setdefault("turn a page", []).append(
            browser.run(turned + "document.body.offsetHeight; return performance.now() - t; })()")
        )
        looked = (
            "(async () => { const t = performance.now(); form.elements.person.value = 'unknown-77'; "
            "await apply(); document.body.offsetHeight; return performance.now() - t; })()"
        )
        found.setdefault("find a person in all", []).append(browser.run(looked))
        found.setdefault("again", []).append(browser.run(looked))
        found.setdefault("longest without an answer", []).append(
            browser.run("new Promise(done => setTimeout(() => done(longest), 200))")
        )
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    options = arguments(__doc__ or "", sightings=100_000, jobs=10, cameras=12, rounds=5)
    if CHROMIUM is None:
        raise ReidError("no chromium is installed: the page is measured in one")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folders = [place / f"day-{day:02d}" for day in range(options.jobs)]
        for day, folder in enumerate(folders):
            write_job(folder, day, options.sightings // options.jobs, options.cameras, rng)
        began = time.perf_counter()
        write_dashboard(folders, place / "site.html")
        writing = time.perf_counter() - began
        megabytes = (place / "site.html").stat().st_size / 1e6
        with chromium(place / "profile") as browser:
            times = measured(browser, place / "site.html", options.rounds)
    size = f"{options.sightings:,} sightings of {options.jobs} jobs"
    title = f"{size}: written in {writing:.2f} s, {megabytes:.1f} MB"
    result = {"writing_s": writing, "megabytes": megabytes, "milliseconds": times}
    report(title, ("in Chromium", "median ms"), list(times.items()), result, options.json)


if __name__ == "__main__":
    main()
