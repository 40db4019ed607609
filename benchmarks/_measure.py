"""What the benchmarks share: medians of runs that take turns with the peer's, peak memory, one table and one
line of JSON.

Every run of a round is followed at once by the other candidates' runs, so whatever else the machine does
falls on all of them alike.
"""

import argparse
import ctypes
import gc
import json
import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from reid.errors import UsageError

__all__ = [
    "SHARED",
    "Measured",
    "abilities",
    "alternate",
    "arguments",
    "peak_memory_mb",
    "peak_rss_gb",
    "ratio",
    "report",
    "settings",
]


# Real footage and models, of those benchmarks that need them.
SHARED = Path(os.environ.get("REID_SHARED", Path(__file__).parents[2] / "shared")).resolve()


@dataclass(frozen=True)
class Measured:
    """All times of one candidate, in seconds, in the order of the rounds; ``peak_mb`` is what one run adds to
    the memory in use.
    """

    seconds: tuple[float, ...]
    peak_mb: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def alternate(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int = 15,
    warmup: int = 2,
    memory: bool = True,
    calls: int = 1,
) -> dict[str, Measured]:
    """Time the candidates in turns for ``rounds`` rounds; the order turns round by one each time, so that
    nobody always runs first.

    A turn is ``calls`` calls after one that is not timed, and counts as their mean: what takes a millisecond
    is otherwise timed with the processor's caches full of what the candidate before it left. With one call
    there is none untimed.
    """
    for _ in range(warmup):
        for run in candidates.values():
            run()
    peaks = {name: peak_memory_mb(run) if memory else math.nan for name, run in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    gc.disable()
    try:
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                if calls > 1:
                    candidates[name]()
                started = time.perf_counter()
                for _ in range(calls):
                    candidates[name]()
                seconds[name].append((time.perf_counter() - started) / calls)
    finally:
        gc.enable()
    return {name: Measured(tuple(seconds[name]), peaks[name]) for name in names}


def ratio(ours: Measured, peer: Measured) -> float:
    """How many times faster we are: the median over the rounds of the peer's time by ours in the same round.
    Larger is better.
    """
    return statistics.median(p / o for p, o in zip(peer.seconds, ours.seconds, strict=True))


def peak_memory_mb(run: Callable[[], object]) -> float:
    """Megabytes that one call of ``run`` adds to the resident memory at its highest; NaN where the kernel
    does not tell (not Linux).
    """
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not clear.exists():
        return math.nan
    gc.collect()
    # Freed blocks that the allocator keeps would hide what the run needs: hand them back first.
    ctypes.CDLL(None).malloc_trim(0)
    try:
        clear.write_text("5")
    except OSError:
        return math.nan
    before = _status_kb(status, "VmRSS")
    run()
    return max(0, _status_kb(status, "VmHWM") - before) / 1024


def _status_kb(status: Path, key: str) -> int:
    return int(next(line for line in status.read_text().splitlines() if line.startswith(key)).split()[1])


def peak_rss_gb() -> float:
    """The highest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def abilities() -> str:
    """What the processor can do that figures depend on; "unknown" where the kernel does not tell (not
    Linux).
    """
    info = Path("/proc/cpuinfo")
    flags = (
        next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
        if info.exists()
        else ""
    )
    names = {
        "avx2": "AVX2",
        "avx512f": "AVX-512",
        "avx512_vnni": "VNNI",
        "avx_vnni": "VNNI",
        "avx512_bf16": "bfloat16",
        "amx_bf16": "AMX",
    }
    found = dict.fromkeys(name for flag, name in names.items() if flag in flags.split())
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return (", ".join(found) or "unknown") + (f", oneDNN limited to {limit}" if limit else "")


def arguments(description: str, **defaults: Any) -> argparse.Namespace:
    """Parse ``--json`` and one option for each default, of the default's type."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def settings(option: str, words: Sequence[str]) -> dict[str, Any]:
    """What ``KEY=VALUE`` words set.

    Raises:
        UsageError: a word is none, or its value no YAML.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{option} {word}: want a value, {option} {word}=VALUE")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"{option} {word}: {value!r} is no YAML value") from None
    return found


def report(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    result: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Print the table, and with ``as_json`` the result as the last line. Floats of the table show three
    digits.
    """
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row))
    Console().print(table)
    if as_json:
        print(json.dumps(result, allow_nan=False, default=float))
