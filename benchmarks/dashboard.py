"""The page over many jobs at 100,000 sightings: how long it takes to write, to open in headless Chromium
until its first rows are drawn, to turn a page and to look through all sightings; the longest without an
answer.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _measure import abilities, arguments, report

from reid.errors import ReidError
from serving.job.dashboard import write_dashboard

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.browser import CHROMIUM, LONGEST_TASK, Browser, chromium
from tests.serving.job.dashboard.made_up_days import write_day

_FIRST_ROWS = (
    "new MutationObserver((_, self) => { if (!document.querySelector('article')) return; self.disconnect(); "
    "requestAnimationFrame(() => setTimeout(() => { window.firstRows = performance.now(); })); })"
    ".observe(document, { childList: true, subtree: true });"
)


def measured(browser: Browser, page: Path, rounds: int) -> dict[str, float]:
    """Milliseconds: medians over the rounds, of what the browser itself says."""
    found: dict[str, list[float]] = {}

    def clicked(selector: str) -> float:
        script = f"(() => {{ const t = performance.now(); document.querySelector('{selector}').click(); "
        value: float = browser.run(script + "document.body.offsetHeight; return performance.now() - t; })()")
        return value

    for _ in range(rounds):
        browser.open(page, watch=LONGEST_TASK + _FIRST_ROWS)
        browser.until("window.firstRows > 0")
        entry = "performance.getEntriesByType('navigation')[0]"
        found.setdefault("first rows", []).append(browser.run("firstRows"))
        found.setdefault("open", []).append(browser.run(f"{entry}.loadEventEnd"))
        found.setdefault("turn a page", []).append(clicked('[data-go="1"]'))
        found.setdefault("go to the last page", []).append(clicked('[data-go="Infinity"]'))
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
            write_day(folder, day, options.sightings // options.jobs, options.cameras, rng)
        began = time.perf_counter()
        write_dashboard(folders, place / "site.html")
        writing = time.perf_counter() - began
        megabytes = (place / "site.html").stat().st_size / 1e6
        with chromium(place / "profile") as browser:
            times = measured(browser, place / "site.html", options.rounds)
    size = f"{options.sightings:,} sightings of {options.jobs} jobs"
    title = f"{size}: written in {writing:.2f} s, {megabytes:.1f} MB ({abilities()})"
    result = {"writing_s": writing, "megabytes": megabytes, "milliseconds": times, "processor": abilities()}
    report(title, ("in Chromium", "median ms"), list(times.items()), result, options.json)


if __name__ == "__main__":
    main()
