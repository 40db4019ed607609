"""Where else was this person, among 100,000 sightings of ten jobs: the answer after opening, beside FAISS's
exact search over the same embeddings in one index, and the time of opening.
"""

import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _measure import alternate, arguments, ratio, report

from reid.files import write_json
from serving.job.afterwards.search import find, open_seen
from serving.job.layout import SIGHTINGS, JobFolder
from serving.job.sightings.embeddings import write_embeddings


def write_job(folder: Path, count: int, dim: int, rng: np.random.Generator) -> None:
    """A job's output as far as ``find`` reads it: made-up people, one camera."""
    folder.mkdir()
    files = JobFolder(folder)
    numbers = {"tracklet", "start_frame", "end_frame", "frames", "best_frame"}
    rows = {
        field.name: pa.array(list(range(count)) if field.name in numbers else [1.0] * count, field.type)
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        else pa.array([None] * count, field.type)
        if "time" in field.name
        else pa.array(["hall"] * count, field.type)
        for field in SIGHTINGS
    }
    pq.write_table(pa.table(rows, schema=SIGHTINGS), files.sightings)
    embeddings = rng.standard_normal((count, dim), dtype=np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    write_embeddings(files.embeddings, [("hall", number) for number in range(count)], embeddings, "m")
    record = {
        "job": {"cameras": [{"id": "hall"}], "model": "m"},
        "model": {"name": "m", "fingerprint": "m"},
        "decision": {"threshold": 0.5},
    }
    write_json(files.record, record)


def main() -> None:
    options = arguments(__doc__ or "", sightings=100_000, jobs=10, dim=512, rounds=15)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(number) for number in range(options.jobs)]
        for folder in folders:
            write_job(folder, options.sightings // options.jobs, options.dim, rng)
        began = time.perf_counter()
        jobs = [open_seen(folder) for folder in folders]
        opening = time.perf_counter() - began
    index = faiss.IndexFlatL2(options.dim)
    index.add(np.concatenate([job.embeddings for job in jobs]))
    person = jobs[0].embeddings[0]
    theirs = np.sqrt(np.maximum(index.search(person[None], 20)[0][0], 0))
    ours = [one.distance for one in find(person, jobs, 20)]
    assert np.allclose(ours[1:], theirs[1:], atol=1e-4), (ours, theirs)
    times = alternate(
        {"find": lambda: find(person, jobs, 20), "FAISS": lambda: index.search(person[None], 20)},
        rounds=options.rounds,
    )
    rows = [(name, 1000 * one.median, one.peak_mb) for name, one in times.items()]
    faster = ratio(times["find"], times["FAISS"])
    title = (
        f"{options.sightings:,} sightings x {options.dim}: opened in {opening:.2f} s, "
        f"{faster:.2f} times as fast as FAISS"
    )
    report(
        title, ("search", "median ms", "adds MB"), rows, {"opening_s": opening, "ratio": faster}, options.json
    )


if __name__ == "__main__":
    main()
