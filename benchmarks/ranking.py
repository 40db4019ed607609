"""Ranking at Market-1501 and MSMT17 size against torchreid's evaluation, with peak memory and the share of
matrix product.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measure import alternate, arguments, peak_rss_gb, report

from reid.evaluation import k_reciprocal, rank_distances, rank_gallery
from reid.evaluation.blocks import block_height

DIM = 512
# queries, gallery images, people, cameras
SIZES = {
    "market": (3368, 15913, 751, 6),
    "msmt": (11659, 82161, 3060, 15),
}


class Case(NamedTuple):
    """Arguments of ``rank_gallery``."""

    query: np.ndarray
    query_ids: np.ndarray
    query_cams: np.ndarray
    gallery: np.ndarray
    gallery_ids: np.ndarray
    gallery_cams: np.ndarray


def made_up(size: str) -> Case:
    """Normalised embeddings around a centre for each person; a sixth of a small gallery are distractors, as
    in Market-1501.
    """
    queries, images, people, cameras = SIZES[size]
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((people, DIM), dtype=np.float32)

    def draw(count: int, distractors: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = np.where(rng.random(count) < distractors, 0, rng.integers(1, people, count))
        rows = rng.standard_normal((count, DIM), dtype=np.float32)
        rows *= 2.4
        rows += centres[ids]
        rows[ids == 0] = rng.standard_normal(((ids == 0).sum(), DIM), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows, ids, rng.integers(0, cameras, count)

    return Case(*draw(queries, 0), *draw(images, 1 / 6 if size == "market" else 0))


def matrix_product(case: Case) -> Callable[[], None]:
    """The product that no exact ranking can do without, in the blocks that ours uses."""
    height = block_height(len(case.gallery))
    buffer = np.empty((height, len(case.gallery)), dtype=np.float32)

    def run() -> None:
        for start in range(0, len(case.query), height):
            part = case.query[start : start + height]
            np.matmul(part, case.gallery.T, out=buffer[: len(part)])

    return run


def ours(size: str, rounds: int) -> dict[str, Any]:
    """Seconds of every round, figures and peak memory: run in a process of its own, so that nobody else's
    memory counts.
    """
    case = made_up(size)
    measured = alternate(
        {"ours": lambda: rank_gallery(*case), "product": matrix_product(case)},
        rounds,
        warmup=min(1, rounds - 1),
        memory=False,
    )
    done = rank_gallery(*case)
    share = measured["product"].median / measured["ours"].median
    return {
        "seconds": measured["ours"].median,
        "product_share": share,
        "peak_rss_gb": peak_rss_gb(),
        "figures": done.summary(),
    }


def reranked(size: str, rounds: int) -> dict[str, Any]:
    """k-reciprocal re-ranking and the figures after it, likewise in a process of its own."""
    case = made_up(size)
    labels = (case.query_ids, case.query_cams, case.gallery_ids, case.gallery_cams)
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        done = rank_distances(k_reciprocal(case.query, case.gallery), *labels, name="k-reciprocal")
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds), "peak_rss_gb": peak_rss_gb(), "figures": done.summary()}


def in_own_process(size: str, rounds: int, what: str = "ours") -> dict[str, Any]:
    code = f"import json, ranking; print(json.dumps(ranking.{what}({size!r}, {rounds})))"
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def torchreid(case: Case) -> dict[str, Any]:
    """One run of torchreid's distance matrix and evaluation as installed, compiled only where its extension
    was built.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchreid.reid.metrics import distance, rank
    started = time.perf_counter()
    matrix = distance.compute_distance_matrix(
        torch.from_numpy(case.query), torch.from_numpy(case.gallery)
    ).numpy()
    distances_s = time.perf_counter() - started
    labels = (case.query_ids, case.gallery_ids, case.query_cams, case.gallery_cams)
    result: dict[str, Any] = {"distances_s": distances_s, "compiled_s": None}
    for name, compiled in (("pip_s", False), ("compiled_s", True)):
        if compiled and not rank.IS_CYTHON_AVAI:
            continue
        started = time.perf_counter()
        cmc, mean_ap = rank.evaluate_rank(matrix, *labels, max_rank=50, use_cython=compiled)
        result[name] = distances_s + time.perf_counter() - started
        result["figures"] = {"rank1": float(cmc[0]), "mean_ap": float(mean_ap)}
    return result


def main() -> None:
    options = arguments(__doc__ or "", rounds=7, msmt_rounds=1, rerank_rounds=1, peer=1)
    mine = {
        size: in_own_process(size, rounds)
        for size, rounds in (("market", options.rounds), ("msmt", options.msmt_rounds))
        if rounds
    }
    rows: list[tuple[object, ...]] = [
        (
            f"{' x '.join(map(str, SIZES[size][:2]))} x {DIM}",
            one["seconds"],
            one["product_share"],
            one["peak_rss_gb"],
        )
        for size, one in mine.items()
    ]
    again = in_own_process("market", options.rerank_rounds, "reranked") if options.rerank_rounds else None
    if again is not None:
        rows.append(("k-reciprocal re-ranking, Market-1501 size", again["seconds"], "", again["peak_rss_gb"]))
    market = mine["market"]
    ratios = {}
    difference = None
    peer = None
    if options.peer:
        peer = torchreid(made_up("market"))
        ratios = {"vs_torchreid_pip": peer["pip_s"] / market["seconds"]}
        rows.append(("torchreid from pip", peer["pip_s"], peer["distances_s"] / peer["pip_s"], ""))
        if peer["compiled_s"] is not None:
            ratios["vs_torchreid_compiled"] = peer["compiled_s"] / market["seconds"]
            rows.append(
                ("torchreid compiled", peer["compiled_s"], peer["distances_s"] / peer["compiled_s"], "")
            )
        else:
            rows.append(("torchreid compiled: not built", "", "", ""))
        difference = {name: abs(value - market["figures"][name]) for name, value in peer["figures"].items()}
        rows += [(f"times as fast: {name}", value, "", "") for name, value in ratios.items()]
        rows += [(f"difference of {name}", f"{value:.1e}", "", "") for name, value in difference.items()]
    report(
        "Ranking: CMC, mAP, mINP",
        ("run", "seconds", "product", "peak GB"),
        rows,
        {
            "ratios": ratios,
            "peak_rss_gb": max(one["peak_rss_gb"] for one in mine.values()),
            "ours": mine,
            "reranked": again,
            "torchreid": peer,
            "difference": difference,
            "cores": len(os.sched_getaffinity(0)),
        },
        options.json,
    )


if __name__ == "__main__":
    main()
