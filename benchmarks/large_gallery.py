"""A gallery of millions of references on disk, and a job that names people by its index: what building,
opening and searching take, in seconds and in memory.

``--references N`` are made up and enrolled some thousands at a time, so that no more than the index is in
memory (`benchmarks/gallery.py` says how the rows are drawn, and measures exact search, which needs all of
them there). Each step is a process of its own, whose highest memory and processor time are its own.
``--exact no`` leaves out the search among all references, which has them all in memory: without it ten
million take a disk of 30 GB. ``scaled`` has what ten million references would take if seconds and bytes went
with their number, which for building and the index they do; it is a calculation and no measurement.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _measure import arguments, peak_rss_gb, report
from gallery import Crowd, fill

from serving.gallery import Gallery
from serving.matching import identify

_WANTED = 10_000_000
_CROWD = 8192  # people drawn at a time


def enrolled(path: Path, references: int, each: int, dim: int) -> dict[str, float]:
    """Enroll everybody; seconds spent in the gallery, its size, and the highest memory."""
    crowd, spent = Crowd(dim, seed=0), 0.0
    for start in range(0, references // each, _CROWD):
        count = min(_CROWD, references // each - start)
        spent += fill(path, crowd, crowd.people(count), each, max(1, 4096 // each), start)
    return {"seconds": spent, "gb": path.stat().st_size / 1e9, "rss_gb": peak_rss_gb()}


def built(path: Path, kind: str) -> dict[str, Any]:
    """Build the index."""
    with Gallery.open(path, "benchmark") as gallery:
        began = time.perf_counter()
        index = gallery.build_index(kind)
        seconds = time.perf_counter() - began
    return {
        "kind": index.kind,
        "recall": index.recall,
        "gb": index.bytes / 1e9,
        "seconds": seconds,
        "rss_gb": peak_rss_gb(),
    }


def searched(path: Path, queries: int, dim: int, exact: bool) -> dict[str, Any]:
    """Open the gallery and name probes as a job does, by its index or by all references."""
    rng = np.random.default_rng(1)
    with Gallery.open(path, "benchmark", read_only=True) as gallery:
        references = gallery.counted()[0]
        with gallery.store.reading() as db:
            ids = sorted(rng.choice(references, queries, replace=False).tolist())
            wanted = "SELECT embedding FROM refs WHERE id > ? ORDER BY id LIMIT 1"
            rows = [db.execute(wanted, (one,)).fetchone()[0] for one in ids]
        # Half way between a reference and nobody: another picture of the same person.
        probes = np.frombuffer(b"".join(rows), "<f4").reshape(queries, dim)
        noise = rng.standard_normal(probes.shape).astype(np.float32)
        probes = probes + 0.7 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        probes /= np.linalg.norm(probes, axis=1, keepdims=True)
        began = time.perf_counter()
        index = None if exact else gallery.compact_index(rows_in_memory=False)
        if index is None:
            gallery.index()
        opened = time.perf_counter() - began
        began = time.perf_counter()
        matches = identify(probes, gallery, 0.9, index=index)
        seconds = time.perf_counter() - began
    return {
        "open_s": opened,
        "seconds": seconds,
        "rss_gb": peak_rss_gb(),
        "nearest": [(one.nearest, one.distance) for one in matches],
    }


def _in_a_process(*words: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--step", *map(str, words)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def _step(what: str, path: str, *numbers: str) -> dict[str, Any]:
    began = time.process_time()
    if what == "enroll":
        found = enrolled(Path(path), *map(int, numbers))
    elif what == "build":
        found = built(Path(path), numbers[0])
    else:
        found = searched(Path(path), int(numbers[0]), int(numbers[1]), what == "exact")
    return found | {"processor_s": time.process_time() - began}


def measure(
    folder: Path, references: int, each: int, dim: int, queries: int, kind: str, with_exact: bool
) -> dict[str, Any]:
    path = folder / "gallery.db"
    result: dict[str, Any] = {"enroll": _in_a_process("enroll", path, references, each, dim)}
    result["build"] = _in_a_process("build", path, kind)
    result["index"] = _in_a_process("index", path, queries, dim)
    by_index = result["index"].pop("nearest")
    if with_exact:
        result["exact"] = _in_a_process("exact", path, queries, dim)
        pairs = list(zip(by_index, result["exact"].pop("nearest"), strict=True))
        result["same_nearest"] = float(np.mean([one[0] == other[0] for one, other in pairs]))
        off = [abs(one[1] - other[1]) for one, other in pairs if one[0] == other[0]]
        result["largest_difference"] = max(off, default=0.0)
        result["ratios"] = {"memory_exact_vs_index": result["exact"]["rss_gb"] / result["index"]["rss_gb"]}
    times = _WANTED / references
    places = {
        "file_gb": ("enroll", "gb"),
        "enroll_s": ("enroll", "seconds"),
        "build_s": ("build", "seconds"),
        "index_gb": ("build", "gb"),
        "exact_rss_gb": ("exact", "rss_gb"),
    }
    result["scaled"] = {
        name: result[step][value] * times for name, (step, value) in places.items() if step in result
    }
    return result | {"references": references, "dim": dim, "cores": len(os.sched_getaffinity(0))}


def main() -> None:
    if sys.argv[1:2] == ["--step"]:
        print(json.dumps(_step(*sys.argv[2:])))
        return
    options = arguments(
        __doc__ or "",
        references=1_000_000,
        each=10,
        dim=512,
        queries=256,
        folder=tempfile.gettempdir(),
        kind="auto",
        exact="yes",
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = measure(
            Path(folder),
            options.references,
            options.each,
            options.dim,
            options.queries,
            options.kind,
            options.exact == "yes",
        )
    rows = [
        (f"{step}: {name.replace('_', ' ')}", value)
        for step in ("enroll", "build", "index", "exact")
        for name, value in result.get(step, {}).items()
    ]
    rows += [
        (words, result[name])
        for name, words in (
            ("same_nearest", "probes with the same nearest person"),
            ("largest_difference", "largest difference of distances"),
        )
        if name in result
    ]
    rows += [
        (f"calculated for 10 million: {name.replace('_', ' ')}", v) for name, v in result["scaled"].items()
    ]
    title = f"A gallery on disk: {options.references} x {options.dim}"
    report(title, ("what", "value"), rows, result, options.json)


if __name__ == "__main__":
    main()
