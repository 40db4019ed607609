"""How long every command's ``--help`` takes, each in a process of its own, against ``dvc --help`` in the same
rounds.

The commands are found by walking the console script's app, so none is forgotten. Ends with exit code 1 when a
median is over the limit.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import typer.main
from _measure import alternate, arguments, ratio, report

from pipelines.cli import app

ROOT = Path(__file__).parents[1]


def commands(command: object, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Words that lead to a command, for it and all below it."""
    yield names
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*names, name))


def shown(*command: str) -> Callable[[], object]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return partial(
        subprocess.run,
        [*command, "--help"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def main() -> None:
    chosen = arguments(__doc__ or "", rounds=5, limit_s=1.0)
    found = {" ".join(("reid", *names)): names for names in commands(typer.main.get_command(app))}
    candidates = {name: shown(sys.executable, "-m", "pipelines.cli", *names) for name, names in found.items()}
    candidates["dvc"] = shown(sys.executable, "-m", "dvc")
    times = alternate(candidates, rounds=chosen.rounds, warmup=1, memory=False)
    rows = [
        [f"{name} --help", one.median, max(one.seconds), ratio(one, times["dvc"])]
        for name, one in times.items()
    ]
    slowest = max(found, key=lambda name: times[name].median)
    result = {
        "ratios": {"slowest_vs_dvc": ratio(times[slowest], times["dvc"])},
        "slowest": slowest,
        "slowest_s": times[slowest].median,
        "medians_s": {name: times[name].median for name in found},
        "within_limit": times[slowest].median <= chosen.limit_s,
    }
    title = f"--help of {len(found)} commands, medians of {chosen.rounds} runs; limit {chosen.limit_s} s"
    report(title, ["command", "median, s", "slowest, s", "dvc's time by ours"], rows, result, chosen.json)
    sys.exit(0 if result["within_limit"] else 1)


if __name__ == "__main__":
    main()
