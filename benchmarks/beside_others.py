"""Training steps with two threads alone, and beside processes that keep every core busy: as this package sets
GNU OpenMP's patience (GOMP_SPINCOUNT, see reid/__init__.py), and as the library's own default has it.

Every measurement is a process of its own, for the library reads the setting once; rounds take turns.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from _measure import abilities, arguments, report

import reid  # noqa: F401 - its settings come before torch

# It ends with the benchmark, however that ends.
_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
_DEFAULT = "300000"  # GNU OpenMP's own, where the variable is not set


def step_seconds(steps: int, threads: int) -> float:
    """Of a forward and backward pass of MobileNetV2 on 32 images of 128 x 64."""
    import torch

    from reid.models.embedder import ModelSpec, build_model
    from reid.training.modes import half_precision, training_pass

    torch.set_num_threads(threads)
    model = build_model(ModelSpec(height=128, width=64, weights="none"))
    model.to(memory_format=torch.channels_last)
    forward = training_pass(model.train(), half_precision("auto"))
    images = torch.randn(32, 3, 128, 64).to(memory_format=torch.channels_last)

    def step() -> None:
        forward(images).float().square().mean().backward()

    step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Within, so many processes calculate."""
    with ExitStack() as stack:
        for _ in range(processes):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))
            stack.callback(process.kill)
        yield


def measured(steps: int, threads: int, spins: str | None) -> float:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    if spins is not None:
        environment["GOMP_SPINCOUNT"] = spins
    command = [sys.executable, __file__, "--step", str(steps), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def main() -> None:
    if sys.argv[1:2] == ["--step"]:
        print(step_seconds(*map(int, sys.argv[2:])))
        return
    options = arguments(__doc__ or "", rounds=3, steps=5, threads=2, others=3)
    ways = {"as set here": None, "library's default": _DEFAULT}
    if min(options.rounds, options.steps, options.threads, options.others) < 1:
        raise SystemExit("beside_others.py: --rounds, --steps, --threads and --others want at least 1")
    places = {"alone": 0, f"beside {options.others} busy processes": options.others}
    seconds: dict[tuple[str, str], list[float]] = {(way, place): [] for place in places for way in ways}
    for _ in range(options.rounds):
        for place, others in places.items():
            for way, spins in ways.items():
                with busy(others):
                    seconds[way, place].append(measured(options.steps, options.threads, spins))
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    ratios = {place: medians["library's default", place] / medians["as set here", place] for place in places}
    rows = [
        (place, *(f"{medians[way, place]:.2f}" for way in ways), f"{ratios[place]:.2f}") for place in places
    ]
    report(
        f"Seconds a training step, {options.threads} threads, medians of {options.rounds} ({abilities()})",
        ("", *ways, "ratio"),
        rows,
        {"ratios": ratios},
        options.json,
    )


if __name__ == "__main__":
    main()
