"""Where else was this person, among 100,000 sightings of ten jobs: the answer after opening, beside FAISS's
exact search over the same embeddings in one index, and the time of opening. *With certainties* is what
``reid find`` does after opening: the model's calibration is moved to the footage, each answer gets a chance.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _measure import alternate, arguments, ratio, report

from reid.card import Certainty, InputSpec, ModelCard, ModelFile, content_hash, save_card
from reid.files import write_json
from serving.job.afterwards.search import certainty_of, find, open_seen
from serving.job.layout import SIGHTINGS, JobFolder
from serving.job.sightings.embeddings import write_embeddings

STAY_S, EVERY_S = 9.0, 4.0  # a sighting lasts, and the next begins


def write_model(folder: Path, dim: int) -> None:
    """A model as far as ``find`` reads it for a sighting: its card with a calibration."""
    folder.mkdir()
    (folder / "model.onnx").touch()
    card = ModelCard(
        name="m",
        dim=dim,
        input=InputSpec(height=256, width=128),
        files={"fp32": ModelFile(path="model.onnx", sha256=content_hash(folder / "model.onnx"))},
        fingerprint="m",
        certainty=Certainty(middle=0.9, slope=12, apart=1.3),
    )
    save_card(card, folder)


def write_job(folder: Path, count: int, dim: int, rng: np.random.Generator, model: Path) -> None:
    """A job's output as far as ``find`` reads it: made-up people, one camera that sees some at once."""
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
    start = EVERY_S * np.arange(count)
    rows |= {"start_s": pa.array(start), "end_s": pa.array(start + STAY_S)}
    pq.write_table(pa.table(rows, schema=SIGHTINGS), files.sightings)
    embeddings = rng.standard_normal((count, dim), dtype=np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    write_embeddings(files.embeddings, [("hall", number) for number in range(count)], embeddings, "m")
    record = {
        "job": {"cameras": [{"id": "hall"}], "model": str(model)},
        "model": {"name": "m", "fingerprint": "m"},
        "decision": {"threshold": 0.5},
    }
    write_json(files.record, record)


def processor_ms(run: Callable[[], object], rounds: int) -> float:
    """The median of the processors' time, which other work on the machine moves less than the clock's."""
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return 1000 * statistics.median(spent)


def main() -> None:
    options = arguments(__doc__ or "", sightings=100_000, jobs=10, dim=512, rounds=15)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(number) for number in range(options.jobs)]
        model = Path(temporary) / "model"
        write_model(model, options.dim)
        for folder in folders:
            write_job(folder, options.sightings // options.jobs, options.dim, rng, model)
        began, spent = time.perf_counter(), time.process_time()
        jobs = [open_seen(folder) for folder in folders]
        opening, spent = time.perf_counter() - began, time.process_time() - spent
        index = faiss.IndexFlatL2(options.dim)
        index.add(np.concatenate([job.embeddings for job in jobs]))
        person = jobs[0].embeddings[0]
        theirs = np.sqrt(np.maximum(index.search(person[None], 20)[0][0], 0))
        ours = [one.distance for one in find(person, jobs, 20)]
        assert np.allclose(ours[1:], theirs[1:], atol=1e-4), (ours, theirs)
        assert certainty_of(jobs) is not None
        ways = {
            "find": lambda: find(person, jobs, 20),
            "find, with certainties": lambda: find(person, jobs, 20, certainty=certainty_of(jobs)),
            "FAISS": lambda: index.search(person[None], 20),
            "calibration alone": lambda: certainty_of(jobs),
        }
        times = alternate(ways, rounds=options.rounds)
        processor = {name: processor_ms(run, options.rounds) for name, run in ways.items()}
    rows = [(name, 1000 * one.median, processor[name], one.peak_mb) for name, one in times.items()]
    faster = ratio(times["find"], times["FAISS"])
    size = f"{options.sightings:,} sightings x {options.dim} of {options.jobs:,} jobs"
    title = (
        f"{size}: opened in {opening:.1f} s ({spent:.2f} of a processor), {faster:.2f} times as fast as FAISS"
    )
    result = {
        "opening_s": opening,
        "opening_processor_s": spent,
        "ratio": faster,
        "certain_ms": 1000 * times["find, with certainties"].median,
        "certain_processor_ms": processor["find, with certainties"],
    }
    report(title, ("search", "median ms", "processor ms", "adds MB"), rows, result, options.json)


if __name__ == "__main__":
    main()
