"""A gallery of a million references on disk: enrolling, opening, and searching it against FAISS's flat index
alone.

`ratios.search_vs_faiss_flat` compares `Gallery.search` for a batch of probes (asking the database for its
version, search, exact distances, one entry a person) with `IndexFlatL2.search` on the same rows.
`recall_at_10` is the share of the ten truly nearest people, by distances in float64 over the rows that a far
longer flat search proposes, that `Gallery.search` gives. `indexes` has the same share for each compact index,
its search time, the time to build it and what it takes in memory.

The rows are drawn with the variances that `osnet_x0_25_msmt17` has on crops of PKU-Reid, people and cameras
that it was not trained on: all rows share a direction (47 % of their squared length), people differ by 19 %,
images of a person by 34 %, and variances fall like 1/i. Isotropic rows would be far from everybody alike,
which no index for near neighbours is made for.
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
from serving.gallery.index.build import KINDS

Rows = npt.NDArray[np.float32]
BETWEEN, WITHIN, COMMON = 0.19, 0.34, 0.47  # shares of a row's squared length


class Crowd:
    """People and their images, as embeddings."""

    def __init__(self, dim: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        scale = np.arange(1, dim + 1, dtype=np.float32) ** -0.5
        turns = [np.linalg.qr(self.rng.standard_normal((dim, dim)))[0].astype(np.float32) for _ in range(2)]
        self.between, self.within = (
            (scale / np.linalg.norm(scale))[:, None] * turn * share**0.5
            for turn, share in zip(turns, (BETWEEN, WITHIN), strict=True)
        )
        common = self.rng.standard_normal(dim, dtype=np.float32)
        self.common = common * COMMON**0.5 / np.linalg.norm(common)

    def people(self, count: int) -> Rows:
        return (
            self.common + self.rng.standard_normal((count, len(self.common)), dtype=np.float32) @ self.between
        )

    def images(self, people: Rows, each: int) -> Rows:
        """``each`` images of every person, (P * each, D), unit rows."""
        noise = (
            self.rng.standard_normal((len(people) * each, people.shape[1]), dtype=np.float32) @ self.within
        )
        rows = np.repeat(people, each, axis=0) + noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fill(
    path: Path, crowd: Crowd, people: Rows, each: int, batch_people: int, first_number: int = 0
) -> float:
    """Enroll everybody, many references a transaction as an import does, named by numbers from the first one
    on; returns seconds spent in the gallery.
    """
    spent = 0.0
    with Gallery.open(path, "benchmark", dim=people.shape[1], create=True) as gallery:
        for start in range(0, len(people), batch_people):
            rows = crowd.images(people[start : start + batch_people], each)
            names = [f"person {first_number + start + row // each}" for row in range(len(rows))]
            began = time.perf_counter()
            gallery.enroll(names, rows, source="benchmark")
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


def share_found(found: list[list[tuple[str, float]]], truth: list[set[str]]) -> float:
    return float(
        np.mean(
            [len({name for name, _ in one} & other) / 10 for one, other in zip(found, truth, strict=True)]
        )
    )


def compact(
    gallery: Gallery, kind: str, probes: Rows, truth: list[set[str]], rounds: int
) -> dict[str, float]:
    """Build an index and search through it, in turns with exact search."""
    began = time.perf_counter()
    built = gallery.build_index(kind)
    build_s = time.perf_counter() - began
    index = gallery.compact_index()
    runs = {kind: lambda: index.search(probes, 10), "exact": lambda: gallery.search(probes, 10)}
    timed = alternate(
        runs, rounds=rounds if kind == "ivf" else 1, warmup=1 if kind == "ivf" else 0, memory=False
    )
    return {
        "recall_at_10": share_found(index.search(probes, 10), truth),
        "recall_stored": built.recall,
        "ratio_vs_exact": ratio(timed[kind], timed["exact"]),
        "search_s": timed[kind].median,
        "build_s": build_s,
        "index_gb": built.bytes / 1e9,
        # What searching needs in memory: the index, and all references where distances come from them.
        "memory_gb": (built.bytes + (gallery.index().embeddings.nbytes if KINDS[kind].keeps_rows else 0))
        / 1e9,
    }


def until_warm(path: Path, most: int = 8) -> list[tuple[float, float]]:
    """Open the gallery again and again until nothing of it comes from the disk; seconds and GB read of each
    opening.

    What enrolment has just written is not all in the file cache, nor is it after one reading.
    """
    openings = []
    for _ in range(most):
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_inblock, time.perf_counter()
        with Gallery.open(path, "benchmark") as gallery:
            gallery.index()
        seconds = time.perf_counter() - began
        openings.append((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_inblock - before) * 512 / 1e9))
        if openings[-1][1] < 0.01 * path.stat().st_size / 1e9:
            break
    return openings


def rss_gb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e9


def measure(
    folder: Path, references: int, each: int, dim: int, queries: int, rounds: int, kinds: list[str]
) -> dict[str, Any]:
    path = folder / "gallery.db"
    crowd = Crowd(dim, seed=0)
    people = crowd.people(references // each)
    spent = fill(path, crowd, people, each, max(1, 4096 // each))
    probes = crowd.images(people[crowd.rng.choice(len(people), queries, replace=False)], 1)
    openings = until_warm(path)
    with Gallery.open(path, "benchmark") as gallery:
        index = gallery.index()
        opened_gb = rss_gb()
        flat = faiss.IndexFlatL2(dim)
        flat.add(index.embeddings)
        timed = alternate(
            {"gallery": lambda: gallery.search(probes, 10), "flat": lambda: flat.search(probes, 10)},
            rounds=rounds,
            warmup=1,
            memory=False,
        )
        truth = true_people(probes, gallery, flat, 10)
        recall = share_found(gallery.search(probes, 10), truth)
        flat.reset()
        indexes = {kind: compact(gallery, kind, probes, truth, rounds) for kind in kinds}
    return {
        "ratios": {
            "search_vs_faiss_flat": ratio(timed["gallery"], timed["flat"]),
            **{f"{kind}_vs_exact": one["ratio_vs_exact"] for kind, one in indexes.items()},
        },
        "recall_at_10": recall,
        "indexes": indexes,
        "enrolled_per_second": references / spent,
        "open_warm_s": openings[-1][0],
        "open_warm_gb_from_disk": openings[-1][1],
        "open_first_s": openings[0][0],
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
    options = arguments(
        __doc__ or "",
        references=1_000_000,
        each=10,
        dim=512,
        queries=256,
        rounds=5,
        folder=tempfile.gettempdir(),
        kinds=",".join(KINDS),
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = measure(
            Path(folder),
            options.references,
            options.each,
            options.dim,
            options.queries,
            options.rounds,
            options.kinds.split(","),
        )
    rows = [
        ("times as fast as the flat index", result["ratios"]["search_vs_faiss_flat"]),
        ("recall of the 10 nearest people", result["recall_at_10"]),
        (f"search for {options.queries} probes, s", result["search_s"]),
        ("flat index alone, s", result["flat_s"]),
        ("references enrolled a second", result["enrolled_per_second"]),
        ("opening it first, s", result["open_first_s"]),
        ("opening with a warm file cache, s", result["open_warm_s"]),
        ("of which read from the disk, GB", result["open_warm_gb_from_disk"]),
        ("memory after opening, GB", result["open_rss_gb"]),
        ("file, GB", result["file_gb"]),
    ]
    for kind, one in result["indexes"].items():
        rows += [
            (f"{kind}: recall of the 10 nearest people", one["recall_at_10"]),
            (f"{kind}: loss of it against exact search", result["recall_at_10"] - one["recall_at_10"]),
            (f"{kind}: times as fast as exact search", one["ratio_vs_exact"]),
            (f"{kind}: building, s", one["build_s"]),
            (f"{kind}: index, GB", one["index_gb"]),
            (f"{kind}: memory to search with it, GB", one["memory_gb"]),
        ]
    report(f"Gallery: {options.references} x {options.dim}", ("what", "value"), rows, result, options.json)


if __name__ == "__main__":
    main()
