"""``reid runs sweep`` on runs that a sweep leaves in MLflow, made by hand: of five trials one was stopped
early, one failed and one has not begun; the page is opened in a browser.
"""

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.pages.sweep import Sweep, Trial, _draw_values, write_sweep_page
from reid.training.tracking import Tracker
from tests.browser import Browser

ROOT = Path(__file__).parents[3]
Reid = Callable[..., tuple[int, str, str]]
RATE, LOSS = "train.learning_rate", "objectives.batch_hard.terms.batch_hard.loss"
NASTY = "<img src=x onerror=alert(1)>"
TRIALS = {
    "trial_0": (0.0003, "triplet", "FINISHED", (0.2, 0.5, 0.61)),
    "trial_1": (0.0021, "triplet", "KILLED", (0.1,)),
    "trial_2": (0.0007, "batch_all", "FINISHED", (0.3, 0.4, 0.7321)),
    "trial_3": (0.03, "batch_all", "FAILED", (0.05, 0.04)),
    "trial_4": (0.0009, NASTY, None, ()),
}


@pytest.fixture
def tracker(folder: Path, mlflow_schema: Path) -> Tracker:
    shutil.copy(mlflow_schema, "mlflow.db")
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    return Tracker("sqlite:///mlflow.db", "reid", "models/records")


def sweep_of(
    tracker: Tracker, objective: str, trials: dict[str, tuple[float, str, str | None, tuple[float, ...]]]
) -> str:
    """MLflow's id of the parent run of these trials."""
    params = {
        "tune.metric": "mean_ap",
        f"tune.space.{RATE}.loguniform": [1e-4, 0.1],
        f"tune.space.{LOSS}.choice": ["triplet", "batch_all"],
    }
    parent = tracker.start(objective, params, {})
    for name, (rate, loss, status, curve) in trials.items():
        run = tracker.start(name, {RATE: rate, LOSS: loss, "train.identities": 8}, {}, parent=parent)
        for epoch, value in enumerate(curve, 1):
            tracker.log(run, {"val_mean_ap": value, "loss": 1.0}, 50 * epoch)
        if status == "FAILED":
            tracker.tag(run, "error", "the loss is not finite at step 101")
        if status is not None:
            tracker.finish(run, status)
    tracker.finish(parent)
    run_id = tracker.run_id(parent)
    assert run_id is not None
    return run_id


@pytest.mark.parametrize("width", [1200, 400])
def test_a_sweep_is_a_page(tracker: Tracker, reid: Reid, browser: Browser, folder: Path, width: int) -> None:
    sweep_of(tracker, "batch_hard", TRIALS)
    sweep_of(tracker, "quadruplet", {"alone": (0.1, "triplet", "FINISHED", (0.9,))})  # newer, and no sweep
    code, out, err = reid("runs", "sweep", "--out", "sweep.html")
    assert (code, out) == (0, "sweep.html: 5 trials of batch_hard, the best trial_2 (val_mean_ap 0.732)\n"), (
        err
    )
    browser.open(folder / "sweep.html", width)
    headings = "[...document.querySelectorAll('h2')].map(h => h.textContent).join()"
    assert browser.run(headings) == "Figures,Curves,Values,The best trial,Trials"
    figures = (
        "[...document.querySelectorAll('#part-0 tbody tr')].map(r => r.innerText.split('\\t').join(' '))"
    )
    assert browser.run(figures) == [
        "trials 5", "trained to its end 2", "stopped early 1", "failed 1", "running 1",
        "best val_mean_ap 73.2 %",
    ]  # fmt: skip
    cells = (
        "[...document.querySelectorAll('#part-4 tbody tr')].map(r => [...r.children].map(c => c.textContent))"
    )
    rows = browser.run(cells)
    assert [row[0] for row in rows] == ["trial_2", "trial_0", "trial_1", "trial_3", "trial_4"]
    assert rows[0] == ["trial_2", "0.732", "150", "trained to its end", "0.0007", "batch_all"]
    assert rows[2][1:4] == ["0.100", "50", "stopped early"]
    assert rows[3][3] == "failed: the loss is not finite at step 101"
    assert rows[4] == ["trial_4", "", "", "running", "0.0009", NASTY], "escaped, and shown as it is"
    pictures = browser.run(
        "[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt.length > 40])"
    )
    assert pictures == [[True, True], [True, True]]
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_a_sweep_is_found_by_its_run(tracker: Tracker, reid: Reid, folder: Path) -> None:
    first = sweep_of(tracker, "batch_hard", TRIALS)
    # nothing differs, and no epoch is over: a page without plots
    sweep_of(tracker, "quadruplet", dict.fromkeys(("a", "b"), (0.1, "triplet", None, ())))
    code, out, _ = reid("runs", "sweep", first, "--out", "first.html")
    assert code == 0 and "5 trials of batch_hard" in out
    code, out, err = reid("runs", "sweep", "--out", "newest.html")
    assert (code, out.split("\n")[0]) == (
        0,
        "newest.html: 2 trials of quadruplet, the best b (no val_mean_ap yet)",
    ), err
    assert "<img" not in (folder / "newest.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "knows no sweep: train with tune.trials above 1 first"),
        (("abc",), "run abc is not in MLflow at sqlite:///"),
    ],
)
def test_what_is_no_sweep_is_one_line(
    tracker: Tracker, reid: Reid, folder: Path, words: tuple[str, ...], message: str
) -> None:
    run = sweep_of(tracker, "batch_hard", {"alone": (0.1, "triplet", "FINISHED", (0.9,))})
    code, _, err = reid("runs", "sweep", *words, "--out", "page.html")
    assert code == 2 and message in err.replace("\n", " "), err
    assert not (folder / "page.html").exists()
    (child,) = tracker.client.search_runs([tracker.experiment_id], "attributes.run_name = 'alone'")
    code, _, err = reid("runs", "sweep", child.info.run_id, "--out", "page.html")
    assert code == 2 and "has no trials" in err
    assert reid("runs", "sweep", run, "--out", "page.html")[0] == 0, (
        "one trial is a page, where it is asked for"
    )


def labels_of(values: dict[str, str], key: str, logarithmic: bool, folder: Path) -> list[str]:
    """The words at the axis of a key's plot."""
    trials = [Trial(name, "trained to its end", {key: value}, [(1, 0.5)]) for name, value in values.items()]
    _draw_values(Sweep("s", "r", "m", trials, frozenset({key} if logarithmic else ())), folder / "values.svg")
    axis = (folder / "values.svg").read_text().split("matplotlib.axis_1")[1].split("matplotlib.axis_2")[0]
    return re.findall(r"<text [^>]*>([^<]+)</text>", axis)


@pytest.mark.parametrize(
    "ends", [("2.6e-4", "7.3e-4"), ("2e-4", "5e-3"), ("1.3e-4", "2.7e-3"), ("1e-5", "0.3")]
)
def test_a_logarithmic_axis_has_some_labels(ends: tuple[str, str], tmp_path: Path) -> None:
    labels = labels_of(dict(zip("ab", ends, strict=True)), RATE, True, tmp_path)
    seen = [label for label in labels if label != RATE and float(ends[0]) <= float(label) <= float(ends[1])]
    assert 1 <= len(seen) <= 6 and len(labels) > 2, labels


def test_a_long_key_ends_within_its_plot(tmp_path: Path) -> None:
    key = "objectives.hierarchical.terms.softmax.options.label_smoothing"
    assert labels_of({"a": "0.0", "b": "0.1"}, key, False, tmp_path) == ["0", "0.1", "…" + key[-33:]]


def test_a_figure_that_is_no_number_is_the_last(tmp_path: Path) -> None:
    broken = Trial("broken", "failed", {"seed": "1"}, [(1, 0.4), (2, math.nan)])
    whole = Trial("whole", "trained to its end", {"seed": "2"}, [(1, 0.1)])
    assert broken.last < whole.last
    write_sweep_page(Sweep("s", "r", "m", [broken], frozenset()), tmp_path / "page.html")
    assert "broken" in (tmp_path / "page.html").read_text()
