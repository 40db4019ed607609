"""The runtime that ``auto`` chooses: those that can open a model are run for about a second, and the fastest
that agrees with the first is kept.

The choice is remembered in the user's cache folder under the hash of the files, the machine and the versions,
so that the next start measures nothing and a second run gives the same embeddings as the first.
"""

import hashlib
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from reid.card import InputSpec
from reid.engine_stamp import current_gpu
from reid.errors import ReidError
from reid.files import read_json, write_json
from reid.processors import processors
from serving.runtime.embedder import Embedder

__all__ = [
    "Candidate",
    "Timed",
    "choose",
    "images_per_second",
    "machine_facts",
    "memory_path",
    "probes",
    "quickest",
]

# By which oneDNN, and OpenVINO with it, is told to use fewer abilities than the processor has.
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_PROBES = 8
_SECONDS = 1.0
_ROUNDS = 7


def choose(
    candidates: Mapping[str, Callable[[], Embedder]],
    least_cosine: float,
    facts: Mapping[str, Any],
    float32: Callable[[], Embedder] | None = None,
) -> Embedder:
    """Open the fastest candidate whose embeddings agree with the first one's.

    Args:
        candidates: openers by the runtime's name; the first that opens is the reference.
        least_cosine: that every probe image must reach.
        facts: all that a choice depends on; equal facts are measured once.
        float32: opener of the model's float32 file, where the candidates are of a lower precision: that it is
            faster is said.

    Returns:
        The embedder; its ``chosen`` tells the choice in one line.

    Raises:
        ReidError: not one opens; the first one's reason.
    """

    def said_of_float32(kept: Embedder) -> str:
        if float32 is None:
            return ""
        try:
            return _faster_in_float32(kept, float32())
        except ReidError as error:  # what was asked for runs all the same
            return f"; not compared with float32: {error}"

    def disagreeing(opened: Mapping[str, Embedder]) -> dict[str, str]:
        return _disagreeing(opened, least_cosine)

    return quickest(candidates, disagreeing, _speeds, facts, said_of_float32)


class Candidate(Protocol):
    """What can be chosen; ``chosen`` is written."""

    chosen: str


Kept = TypeVar("Kept", bound=Candidate)


def quickest(
    candidates: Mapping[str, Callable[[], Kept]],
    disagreeing: Callable[[Mapping[str, Kept]], dict[str, str]],
    speeds_of: Callable[[Mapping[str, Kept]], dict[str, float]],
    facts: Mapping[str, Any],
    addition: Callable[[Kept], str] = lambda kept: "",
) -> Kept:
    """Open the fastest candidate that agrees with the first one.

    Args:
        candidates: openers by the runtime's name; the first that opens is the reference.
        disagreeing: of those that opened, which do not agree with the first, and why.
        speeds_of: images a second.
        facts: all that a choice depends on; equal facts are measured once.
        addition: to the line that tells the choice.

    Raises:
        ReidError: not one opens; the first one's reason.
    """
    path = memory_path(facts)
    remembered = _remembered(path, candidates)
    if remembered is not None:
        return remembered
    opened, refused = _opened(candidates)
    if len(opened) > 1:
        refused |= disagreeing(opened)
        opened = {name: one for name, one in opened.items() if name not in refused}
    speeds = speeds_of(opened) if len(opened) > 1 else dict.fromkeys(opened, math.nan)
    name = max(speeds, key=lambda one: speeds[one]) if len(opened) > 1 else next(iter(opened))
    line = _line(name, speeds, refused) + addition(opened[name])
    try:
        write_json(path, {"backend": name, "line": line})
    except ReidError as error:
        line += f"; not remembered, {error}"
    opened[name].chosen = line
    return opened[name]


def machine_facts(modules: Mapping[str, str]) -> dict[str, Any]:
    """Processor, GPU and the versions of ``modules``, distributions by the runtime's name: what a speed
    depends on besides the file.
    """
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    # Virtual machines of one cloud call processors with and without VNNI by the same name: their abilities
    # tell them apart.
    named = [
        [line.split(":", 1)[1].strip() for line in lines if line.startswith(key)]
        for key in ("model name", ("flags", "Features"))
    ]
    model, flags = (values[0] if values else platform.processor() for values in named)
    abilities = hashlib.sha256(f"{flags} {[os.environ.get(name) for name in _LIMITS]}".encode()).hexdigest()[
        :16
    ]
    gpu = current_gpu()
    return {
        "machine": [platform.system(), platform.machine(), model, abilities, processors()],
        "gpu": gpu.model_dump() if gpu else None,
        "versions": {name: _version(distribution) for name, distribution in modules.items()},
    }


def memory_path(facts: Mapping[str, Any], kind: str = "runtime") -> Path:
    """Where what holds under these facts is remembered: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has a relative path ignored; it would mean another place in each folder.
    if named.is_absolute():
        root = named
    else:
        try:
            root = Path.home() / ".cache"
        except RuntimeError:  # a container whose user has no home
            root = Path(tempfile.gettempdir())
    return root / "reid" / f"{kind}-{key}.json"


def probes(spec: InputSpec) -> npt.NDArray[np.uint8]:
    """The same images each time, ``(8, height, width, 3)``: patches of colour as of clothes, which noise
    would not be.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (_PROBES, 8, 4, 3), np.uint8)
    return np.stack(
        [cv2.resize(one, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR) for one in coarse]
    )


def _remembered(path: Path, candidates: Mapping[str, Callable[[], Kept]]) -> Kept | None:
    try:
        found = read_json(path, "remembered runtime")
        if (
            not isinstance(found, dict)
            or found.get("backend") not in candidates
            or not isinstance(found.get("line"), str)
        ):
            return None
        kept = candidates[found["backend"]]()
    except (ReidError, OSError):  # none, torn, unreadable, or of what opens no more: it is measured anew
        return None
    kept.chosen = found["line"]
    return kept


def _opened(candidates: Mapping[str, Callable[[], Kept]]) -> tuple[dict[str, Kept], dict[str, str]]:
    opened: dict[str, Kept] = {}
    errors: dict[str, ReidError] = {}
    for name, candidate in candidates.items():
        try:
            opened[name] = candidate()
        except ReidError as error:
            errors[name] = error
    if not opened:
        raise next(iter(errors.values()))
    return opened, {name: str(error) for name, error in errors.items()}


def _disagreeing(opened: Mapping[str, Embedder], least_cosine: float) -> dict[str, str]:
    first, *others = opened
    images = probes(opened[first].card.input)
    reference = opened[first](images)
    refused = {}
    for name in others:
        cosine = float(np.einsum("nd,nd->n", reference, opened[name](images)).min())
        if cosine < least_cosine:
            refused[name] = (
                f"its embeddings have a cosine of {cosine:.4f} to those of {first}, {least_cosine} is "
                "asked for"
            )
    return refused


@dataclass(frozen=True)
class Timed:
    """What is timed: a call, how many of it work side by side, and how many images one is."""

    call: Callable[[], object]
    at_once: int
    images: int


def images_per_second(works: Mapping[str, Timed]) -> dict[str, float]:
    """From the best of several rounds, taken in turns; calls were made before, so that nothing is warmed up
    here.
    """
    best = dict.fromkeys(works, math.inf)
    began = time.perf_counter()
    with ThreadPoolExecutor(max(work.at_once for work in works.values())) as pool:
        for _ in range(_ROUNDS):
            for name, work in works.items():
                started = time.perf_counter()
                for done in [pool.submit(work.call) for _ in range(work.at_once)]:
                    done.result()
                best[name] = min(best[name], time.perf_counter() - started)
            if time.perf_counter() - began > _SECONDS:
                break
    return {name: work.images * work.at_once / best[name] for name, work in works.items()}


def _speeds(opened: Mapping[str, Embedder]) -> dict[str, float]:
    return images_per_second(
        {
            name: Timed(
                partial(embedder.run, embedder.prepare(probes(embedder.card.input))),
                embedder.at_once,
                _PROBES,
            )
            for name, embedder in opened.items()
        }
    )


def _faster_in_float32(chosen: Embedder, float32: Embedder) -> str:
    speeds = _speeds({chosen.precision: chosen, "fp32": float32})
    if speeds["fp32"] <= speeds[chosen.precision]:
        return ""
    own = _rate(speeds[chosen.precision])
    figures = f"{_rate(speeds['fp32'])} images a second in {float32.backend} against {own}"
    return f"; float32 is faster on this processor, {figures}: leave {chosen.precision} out"


def _rate(speed: float) -> str:
    """Three figures, and no power of ten."""
    return f"{float(f'{speed:.3g}'):,.0f}" if speed >= 1000 else f"{speed:.3g}"


def _line(name: str, speeds: Mapping[str, float], refused: Mapping[str, str]) -> str:
    others = [f"{other} {_rate(speed)}" for other, speed in speeds.items() if other != name]
    measured = (
        f": {_rate(speeds[name])} images a second, {', '.join(others)}"
        if others
        else ", the only one that can be used"
    )
    return (
        f"runtime {name}{measured}{''.join(f'; not {other}: {reason}' for other, reason in refused.items())}"
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
