"""A sweep as one HTML page: its trials, how far each got, and what the values chosen for them were worth."""

import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid.errors import UsageError
from reid.evaluation.canvas import COLOURS, GREY, new_figure, save, style
from reid.evaluation.page import Figure, Section, Table, write_page

if TYPE_CHECKING:
    from reid.training.tracking import Tracker

__all__ = ["Sweep", "Trial", "read_sweep", "write_sweep_page"]

_STATES = {"FINISHED": "trained to its end", "KILLED": "stopped early", "FAILED": "failed"}
_MOST_RUNS = 10_000
_LABEL = 34  # letters that a plot has room for
_FEW = 5  # different numbers: each is named at the axis


@dataclass(frozen=True)
class Trial:
    """One training of a sweep: what was chosen for it, and its figure after each epoch as (step, value)."""

    name: str
    state: str
    values: Mapping[str, str]
    curve: Sequence[tuple[int, float]]
    error: str = ""

    @property
    def last(self) -> float:
        """The figure by which trials are compared; -inf before the first epoch is over, or where it is no
        number.
        """
        return self.curve[-1][1] if self.curve and not math.isnan(self.curve[-1][1]) else -math.inf


@dataclass(frozen=True)
class Sweep:
    """Trials, the best first, and by which figure."""

    name: str
    run: str
    metric: str
    trials: Sequence[Trial]
    by_magnitude: frozenset[str]  # the keys that are searched on a logarithmic scale

    @property
    def keys(self) -> list[str]:
        """Of params.yaml, that trials differ in."""
        keys = dict.fromkeys(key for trial in self.trials for key in trial.values)
        return [key for key in keys if len({trial.values.get(key) for trial in self.trials}) > 1]


def read_sweep(tracker: "Tracker", run: str | None) -> Sweep:
    """What MLflow knows of the sweep with this parent run; where none is named, of the newest one that has
    several trials.

    Raises:
        UsageError: there is no such run, or it has no trials.
        Exception: ``tracker.errors``: MLflow cannot be reached.
    """
    from reid.training.record import find_run
    from reid.training.tracking import is_absent

    client = tracker.client
    parent_id = _newest(tracker) if run is None else find_run(client, tracker.experiment_id, run) or run
    try:
        parent = client.get_run(parent_id)
    except tracker.errors as error:
        if is_absent(error):
            raise UsageError(
                f"run {run} is not in MLflow at {tracker.shown}: see `reid runs list`"
            ) from error
        raise
    metric = f"val_{parent.data.params.get('tune.metric', 'mean_ap')}"
    trials = [_trial(client, child, metric) for child in _children(tracker, f"= '{parent_id}'")]
    if not trials:
        raise UsageError(f"run {parent_id} has no trials: name the parent of some, see `reid runs list`")
    searched = [key.rpartition(".") for key in parent.data.params if key.startswith("tune.space.")]
    return Sweep(
        parent.info.run_name,
        parent_id,
        metric,
        sorted(trials, key=lambda trial: -trial.last),
        frozenset(key.removeprefix("tune.space.") for key, _, kind in searched if kind == "loguniform"),
    )


def _children(tracker: "Tracker", parent: str) -> list[Any]:
    """Runs whose parent fits the condition, newest first."""
    found: list[Any] = tracker.client.search_runs(
        [tracker.experiment_id],
        f"tags.`mlflow.parentRunId` {parent}",
        order_by=["attributes.start_time DESC"],
        max_results=_MOST_RUNS,
    )
    return found


def _newest(tracker: "Tracker") -> str:
    parents = Counter(run.data.tags["mlflow.parentRunId"] for run in _children(tracker, "LIKE '%'"))
    newest = next((parent for parent, trials in parents.items() if trials > 1), None)
    if newest is None:
        raise UsageError(f"MLflow at {tracker.shown} knows no sweep: train with tune.trials above 1 first")
    return newest


def _trial(client: Any, run: Any, metric: str) -> Trial:
    points = client.get_metric_history(run.info.run_id, metric)
    # A trial that went on after a kill told its last epoch twice.
    curve = sorted({point.step: point.value for point in points}.items())
    state = _STATES.get(run.info.status, run.info.status.lower())
    return Trial(run.info.run_name, state, run.data.params, curve, run.data.tags.get("error", ""))


def write_sweep_page(sweep: Sweep, out: Path) -> None:
    """Write the page to ``out``, whole or not at all."""
    states = Counter(trial.state for trial in sweep.trials)
    figures = {"trials": Figure(len(sweep.trials), "")}
    figures |= {state: Figure(count, "") for state, count in states.items()}
    best = sweep.trials[0]
    sections: list[Section] = []
    with tempfile.TemporaryDirectory() as name:
        if math.isfinite(best.last):
            figures[f"best {sweep.metric}"] = Figure(best.last)
            curves, values = Path(name) / "curves.svg", Path(name) / "values.svg"
            about = (
                f"{sweep.metric} of the validation people after each epoch. A dashed curve with hollow marks "
                "was stopped early."
            )
            sections.append(Section("Curves", about, [(curves, _draw_curves(sweep, curves))]))
            if sweep.keys:
                about = (
                    "The last figure of each trial by what was chosen for it. A hollow mark was stopped "
                    "early, at a figure that might have grown."
                )
                sections.append(Section("Values", about, [(values, _draw_values(sweep, values))]))
            chosen = "\n".join(f"{key}: {best.values.get(key, '')}" for key in sweep.keys)
            sections.append(Section("The best trial", f"{best.name}\n{chosen}"))
        sections.append(Section("Trials", "The best first.", table=_table(sweep)))
        write_page(out, f"Sweep of {sweep.name}", figures, sections)


def _table(sweep: Sweep) -> Table:
    rows = []
    for trial in sweep.trials:
        figure, steps = (f"{trial.last:.3f}", f"{trial.curve[-1][0]:,}") if trial.curve else ("", "")
        state = f"{trial.state}: {trial.error}" if trial.error else trial.state
        chosen = (_short(trial.values.get(key, "")) for key in sweep.keys)
        rows.append((trial.name, figure, steps, state, *chosen))
    return Table(("trial", sweep.metric, "steps", "state", *sweep.keys), rows)


def _draw_curves(sweep: Sweep, path: Path) -> str:
    figure = new_figure(8.0, 4.4)
    axes = figure.add_subplot()
    for trial in reversed(sweep.trials):  # the best one last, over the others
        is_best = trial is sweep.trials[0]
        if trial.curve:
            stopped = trial.state == "stopped early"
            axes.plot(
                *zip(*trial.curve, strict=True),
                color=COLOURS[0] if is_best else GREY,
                linewidth=2.4 if is_best else 1.0,
                linestyle="--" if stopped else "-",
                marker="o",
                markerfacecolor="none" if stopped else None,
                markersize=5 if is_best else 3,
            )
    style(axes, "Validation people", "step", sweep.metric)
    save(figure, path)
    best = sweep.trials[0]
    return (
        f"Curves of {len(sweep.trials)} trials over the steps; the best one, {best.name}, in blue, ends at "
        f"{best.last:.3f} after {best.curve[-1][0]:,} steps."
    )


def _draw_values(sweep: Sweep, path: Path) -> str:
    keys, trials = sweep.keys, [trial for trial in sweep.trials if trial.curve]
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = new_figure(8.0, 0.6 + 2.6 * rows)
    for place, key in enumerate(keys, 1):
        axes = figure.add_subplot(rows, columns, place)
        chosen = [trial.values.get(key, "") for trial in trials]
        numbers = [_number(value) for value in chosen]
        are_numbers = None not in numbers
        for trial, x in zip(trials, numbers if are_numbers else map(_short, chosen), strict=True):
            colour = COLOURS[0] if trial is sweep.trials[0] else GREY
            face = "none" if trial.state == "stopped early" else colour
            axes.plot([x], [trial.last], "o", color=colour, markerfacecolor=face)
        if are_numbers and key in sweep.by_magnitude:
            axes.set_xscale("log")
            _few_labels(axes, [x for x in numbers if x is not None])
        elif are_numbers and len(different := sorted({x for x in numbers if x is not None})) <= _FEW:
            axes.set_xticks(different, [f"{x:g}" for x in different])
        whole = key if len(key) <= _LABEL else f"…{key[1 - _LABEL :]}"
        style(axes, key.rpartition(".")[2], whole, sweep.metric if place % columns == 1 % columns else "")
        axes.tick_params(axis="x", labelsize=8)
        axes.xaxis.label.set_size(8)
    save(figure, path)
    return f"A plot for each of {', '.join(keys)}: the value chosen, and the trial's last {sweep.metric}."


def _few_labels(axes: Any, numbers: list[float]) -> None:
    """Of a logarithmic axis: powers of ten; 1, 2 and 5 times them where the numbers span less than one such
    power, and 1 and 3 times where less than two.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    span = max(numbers) / min(numbers)
    subs = (1.0, 2.0, 5.0) if span < 10 else (1.0, 3.0) if span < 100 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _short(value: str) -> str:
    """Numbers to four digits."""
    number = _number(value)
    return value if number is None else f"{number:.4g}"
