"""A gallery of a million references on disk: enrolling, opening, and searching it against FAISS's flat index alone.

`ratios.search_vs_faiss_flat` compares `Gallery.search` for a batch of probes (asking the database for its version, search, exact distances,
one entry a person) with `IndexFlatL2.search` on the same rows. `recall_at_10` is the share of the ten truly nearest people, by distances in
float64 over the rows that a far longer flat search proposes, that `Gallery.search` gives.
"""

import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from _measure import alternate, arguments, ratio, report

from serving.gallery import Gallery

Rows = npt.NDArray[np.float32]
SPREAD = 0.6  # of a person's references around the person's own direction, before normalisation


def made_up(people: Rows, count: int, rng: np.random.Generator) -> Rows:
    """``count`` references of each person, (P * count, D), unit rows around the persons' directions."""
    noise = rng.standard_normal((len(people), count, people.shape[1]), dtype=np.float32) * (SPREAD / people.shape[1] ** 0.5)
    rows = (people[:, None] + noise).reshape(-1, people.shape[1])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fill(path: Path, people: Rows, each: int, batch_people: int) -> float:
    """Enroll everybody, many references a transaction as an import does; returns seconds spent in the gallery."""
    rng = np.random.default_rng(1)
    spent = 0.0
    with Gallery.open(path, "benchmark", dim=people.shape[1], create=True) as gallery:
        for start in range(0, len(people), batch_people):
            rows = made_up(people[start : start + batch_people], each, rng)
            names = [f"person {start + row // each}" for row in range(len(rows))]
            began = time.perf_counter()
            gallery.enroll_batch(names, rows, source="benchmark")
            spent += time.perf_counter() - began
    return spent


def true_people(queries: Rows, gallery: Gallery, flat: faiss.Index, k: int) -> list[set[str]]:
    """The ``k`` nearest people of each query by distances in float64."""
    rows, identities = gallery.references()
    _, proposed = flat.search(queries, min(len(rows), 40 * k))
    truth = []
    for query, near in zip(queries.astype(np.float64), proposed, strict=True):
        order = near[np.argsort(np.linalg.norm(rows[near] - query, axis=1), kind="stable")]
        truth.append(set(list(dict.fromkeys(identities[order].tolist()))[:k]))
    return truth


def rss_gb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e9


def measure(folder: Path, references: int, each: int, dim: int, queries: int, rounds: int) -> dict[str, Any]:
    path = folder / "gallery.db"
    rng = np.random.default_rng(0)
    people = rng.standard_normal((references // each, dim), dtype=np.float32)
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    spent = fill(path, people, each, max(1, 4096 // each))
    probes = made_up(people[rng.choice(len(people), queries, replace=False)], 1, rng)
    began = time.perf_counter()
    with Gallery.open(path, "benchmark") as gallery:
        index = gallery.index()
        opened_s, opened_gb = time.perf_counter() - began, rss_gb()
        flat = faiss.IndexFlatL2(dim)
        flat.add(index.embeddings)
        timed = alternate(
            {"gallery": lambda: gallery.search(probes, 10), "flat": lambda: flat.search(probes, 10)}, rounds=rounds, warmup=1, memory=False
        )
        found = [{name for name, _ in one} for one in gallery.search(probes, 10)]
        truth = true_people(probes, gallery, flat, 10)
    return {
        "ratios": {"search_vs_faiss_flat": ratio(timed["gallery"], timed["flat"])},
        "recall_at_10": float(np.mean([len(one & other) / 10 for one, other in zip(found, truth, strict=True)])),
        "enrolled_per_second": references / spent,
        "open_warm_s": opened_s,
        "open_rss_gb": opened_gb,
        "file_gb": path.stat().st_size / 1e9,
        "search_s": timed["gallery"].median,
        "flat_s": timed["flat"].median,
        "references": references,
        "dim": dim,
        "queries": queries,
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    options = arguments(__doc__ or "", references=1_000_000, each=10, dim=512, queries=256, rounds=5, folder=tempfile.gettempdir())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = measure(Path(folder), options.references, options.each, options.dim, options.queries, options.rounds)
    rows = [
        ("times as fast as the flat index", result["ratios"]["search_vs_faiss_flat"]),
        ("recall of the 10 nearest people", result["recall_at_10"]),
        (f"search for {options.queries} probes, s", result["search_s"]),
        ("flat index alone, s", result["flat_s"]),
        ("references enrolled a second", result["enrolled_per_second"]),
        ("opening with a warm file cache, s", result["open_warm_s"]),
        ("memory after opening, GB", result["open_rss_gb"]),
        ("file, GB", result["file_gb"]),
    ]
    report(f"Gallery: {options.references} x {options.dim}", ("what", "value"), rows, result, options.json)


if __name__ == "__main__":
    main()
