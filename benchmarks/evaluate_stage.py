"""The stages and commands after the training at the size of public sets: the highest memory and the time of
each, of `evaluate` by parts.

Everything runs as a user runs it, in a folder of real image files (see ``_made_up_set``), each in a process
of its own; only the network is a stand-in, so that embedding takes the time of decoding. Memory is resident
memory of the process, libraries and all. ``select`` finds no champion to measure and ``export`` writes
float32 without an engine: what else they do does not grow with the set.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _made_up_set import DIM, SIZES, stand_in
from _measure import arguments, peak_rss_gb, report

# Of the module pipelines.evaluate, in the order of its work; those that a version of it lacks are passed
# over.
PARTS = (
    "load_images", "embed_sides", "rank", "judge", "rescored_by", "judge_extra",
    "draw_curves", "draw_images", "draw_activation", "judge_shift", "judge_corrupted", "write_evaluation",
    "log_outputs",
)  # fmt: skip
LIMITS_GB = {"cuhk03": 2.0, "market1501": 4.0, "msmt17": 8.0}
COMMANDS: dict[str, tuple[str, ...]] = {
    "select": ("pipelines.select",),
    "evaluate": ("pipelines.evaluate",),
    "calibrate": ("pipelines.calibrate",),
    "export": ("pipelines.export",),
    "reid evaluate": (
        "reid",
        "evaluate",
        "--model",
        "exported",
        "--catalog",
        "data/catalog.parquet",
        "--out",
        "judged",
        "--rerank",
    ),
    "reid compare": ("reid", "compare", "judged", "judged"),
}


class Peaks:
    """Seconds and highest resident memory in GB of each part; of a part inside another, the outer one counts
    the rest.
    """

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}
        self._inside = "the rest"
        self._begun = time.perf_counter()
        self._reset()

    def around(self, name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        """``part``, measured."""

        def run(*arguments: Any, **options: Any) -> Any:
            outer = self._inside
            self.turn(name)
            try:
                return part(*arguments, **options)
            finally:
                self.turn(outer)
                row = self.parts[name]  # at once: the largest set takes hours
                sys.stderr.write(f"    {name}: {row['seconds']:.1f} s, {row['peak_gb']:.2f} GB\n")

        return run

    def turn(self, name: str) -> None:
        """Book what was since the last turn, and go on as ``name``."""
        now = time.perf_counter()
        row = self.parts.setdefault(self._inside, {"seconds": 0.0, "peak_gb": 0.0})
        row["seconds"] += now - self._begun
        row["peak_gb"] = max(row["peak_gb"], self._peak_gb())
        self._inside, self._begun = name, now
        self._reset()

    @staticmethod
    def _peak_gb() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024**2

    @staticmethod
    def _reset() -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's high-water mark begins anew


def measured(command: tuple[str, ...], dim: int) -> dict[str, Any]:
    """Run one command in this process."""
    stand_in(dim)
    started = time.perf_counter()
    if command[0] == "reid":
        from pipelines.cli import main

        sys.argv = list(command)
        try:
            main()
        except SystemExit as done:
            if done.code:
                raise
        return {"seconds": time.perf_counter() - started, "peak_gb": peak_rss_gb()}
    module = importlib.import_module(command[0])
    if command[0] != "pipelines.evaluate":
        module.main()
        return {"seconds": time.perf_counter() - started, "peak_gb": peak_rss_gb()}
    peaks = Peaks()
    for name in PARTS:
        if hasattr(module, name):
            setattr(module, name, peaks.around(name, getattr(module, name)))
    module.main()
    peaks.turn("the rest")
    peak = max(row["peak_gb"] for row in peaks.parts.values())
    return {"seconds": time.perf_counter() - started, "peak_gb": peak, "parts": peaks.parts}


def in_own_process(folder: Path, script: str, value: object) -> str:
    """Run one of these files with a value; returns its standard output."""
    here = Path(__file__).resolve().parent
    # The project's own code is that of PYTHONPATH where it is set, so that an earlier version can be measured
    # with this file.
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(here), str(here.parent)]))
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, str(here / script), json.dumps(value)]
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"{script} {value} failed with {done.returncode}")
    return done.stdout


def run_size(name: str, dim: int, only: list[str]) -> dict[str, Any]:
    """Every command at the size of one set."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        in_own_process(folder, "_made_up_set.py", [name, dim])
        # The stages behind it read what select chose.
        wanted = {key: command for key, command in COMMANDS.items() if not only or key in (*only, "select")}
        return {
            key: json.loads(
                in_own_process(folder, "evaluate_stage.py", [list(command), dim]).splitlines()[-1]
            )
            for key, command in wanted.items()
        }


def main() -> None:
    options = arguments(__doc__ or "", sizes="cuhk03,market1501", dim=DIM, only="")
    only = [one for one in options.only.split(",") if one]
    result: dict[str, Any] = {
        "dim": options.dim,
        "limits_gb": LIMITS_GB,
        "cores": len(os.sched_getaffinity(0)),
        "sizes": {},
    }
    for name in options.sizes.split(","):
        size = SIZES[name]
        found = result["sizes"][name] = run_size(name, options.dim, only)
        rows: list[tuple[object, ...]] = []
        for key, row in found.items():
            rows.append((key, row["seconds"], row["peak_gb"]))
            rows += [
                (f"    {part}", one["seconds"], one["peak_gb"]) for part, one in row.get("parts", {}).items()
            ]
        title = (
            f"{name}: {size.query:,} x {size.gallery:,} x {options.dim}, limit {LIMITS_GB.get(name, 0):g} GB"
        )
        report(title, ("run", "seconds", "peak GB"), rows, result, False)
    if options.json:
        print(json.dumps(result))
    peaks = {
        f"{name}: {key}": (row["peak_gb"], LIMITS_GB[name])
        for name, found in result["sizes"].items()
        for key, row in found.items()
    }
    if above := [
        f"{key} took {peak:.2f} GB, the limit is {limit:g}"
        for key, (peak, limit) in peaks.items()
        if peak > limit
    ]:
        sys.exit("; ".join(above))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("["):
        given, width = json.loads(sys.argv[1])
        print(json.dumps(measured(tuple(given), width)))
    else:
        main()
