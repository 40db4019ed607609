"""Quadruplet and hierarchical against batch-hard with softmax on real people, in the same processor time.

``--images`` is a folder of crops; ``--people`` of its people, drawn once for all runs, are held out and asked
for as in Market-1501's protocol: each picture of them asks all others, those of its own person and camera are
left out. What is trained is what ``--params`` says and ``--set`` changes, one thread, for ``--minutes`` of
the process's own processor time: mining, losses and class trees are in it, validation is not. An objective
that starts from another shares its time with it as their ``steps`` are to each other.

Every run is a row of ``--results``; a run that is in there already is not run again, so that a search goes on
where it was interrupted, and the table shows all that was tried in as many minutes.
"""

import argparse
import hashlib
import json
import statistics
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _claims import reach
from _measure import abilities, report, settings
from _people import CUHK03, PATTERN, each_camera_asks, mean_ap

from reid.config import UNTRAINED, Params, load_params, settings_of, with_values
from reid.data.datasets.folder import read_folder
from reid.data.store import load_images
from reid.errors import ReidError, UsageError
from reid.evaluation import k_reciprocal, rank_distances, rank_gallery
from reid.files import read_json, write_json
from reid.memory import keep_freed_memory
from reid.models.embedder import EmbeddingModel, build_model, load_model, save_model
from reid.models.inference import embed_images
from reid.training.batches import TrainingData
from reid.training.loop import Epoch, train
from reid.training.trial import loss_and_batches, model_spec

REFERENCE = "batch_hard"
_FIGURES = {"mean_ap": "mAP", "rank1": "rank-1", "across": "across cameras", "reranked": "re-ranked"}
Row = dict[str, Any]


def read_people(folder: Path, held_out: int, height: int, width: int) -> TrainingData:
    """All crops decoded; the people held out are those of seed 0."""
    records = read_folder(folder, PATTERN)
    people = sorted({record.identity for record in records})
    asked = set(np.random.default_rng(0).permutation(people)[:held_out])
    known = [record for record in records if record.identity not in asked]
    others = [record for record in records if record.identity in asked]
    images = [load_images([record.path for record in part], height, width) for part in (known, others)]
    return TrainingData(
        images[0],
        np.unique([record.identity for record in known], return_inverse=True)[1].astype(np.int64),
        np.array([record.camera for record in known]),
        [record.path for record in known],
        images[1],
        np.array([record.identity for record in others]),
        np.array([record.camera for record in others]),
    )


def chain_of(params: Params, name: str) -> list[str]:
    """The objective, and those that it starts from before it, the last first."""
    start = params.objectives[name].start
    return [name] if start == UNTRAINED else [name, *chain_of(params, start)]


def digest_of(params: Params, name: str, minutes: float, people: int) -> str:
    """Of everything that a run depends on but its seed."""
    chain = chain_of(params, name)
    # By the clock, steps matter only as shares of the time.
    idle = {"max_seconds", "threads"} | ({"steps"} if minutes and len(chain) == 1 else set())
    train_section = params.train.model_dump(exclude=idle)
    own = {key: params.objectives[key].model_dump(exclude_defaults=True) for key in chain}
    parts = [params.model.model_dump(), train_section, own, round(minutes, 6), people]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def trained(
    params: Params, name: str, data: TrainingData, minutes: float, seed: int, starts: Path, people: int
) -> tuple[EmbeddingModel, list[Epoch]]:
    """``name`` after so many minutes, those of what it starts from among them, and its epochs."""
    chain = chain_of(params, name)
    own_share = settings_of(params, name).steps / sum(settings_of(params, key).steps for key in chain)
    model = build_model(model_spec(params)) if len(chain) == 1 else None
    if model is None:
        before = minutes * (1 - own_share)
        kept = starts / f"{digest_of(params, chain[1], before, people)}-{seed}.safetensors"
        if not kept.exists():
            first, _ = trained(params, chain[1], data, before, seed, starts, people)
            starts.mkdir(exist_ok=True)
            save_model(first, model_spec(params), kept)
        model, _ = load_model(kept)
    seconds = 60 * minutes * own_share or None
    settings = settings_of(params, name).model_copy(update={"max_seconds": seconds})
    torch.manual_seed(seed)
    objective, plan = loss_and_batches(params, name, int(data.labels.max()) + 1, model.dim)
    epochs: list[Epoch] = []
    result, _ = train(
        model,
        objective,
        data,
        settings,
        seed=seed,
        plan=plan,
        on_epoch=epochs.append,
        clock=time.process_time,
    )
    return result, epochs


def begun(params: Params, data: TrainingData) -> float:
    """mAP of what a training starts from."""
    rows = embed_images(build_model(model_spec(params)), data.val_images)
    return mean_ap(rows, data.val_identities, data.val_cameras)


def across_cameras(model: EmbeddingModel, data: TrainingData) -> dict[str, float]:
    """mAP of one camera's pictures against the other's, the mean of both ways, and with k-reciprocal
    re-ranking; within a camera a person's pictures are a burst, and its neighbourhoods would be that.
    """
    rows, plain, reranked = embed_images(model, data.val_images), [], []
    for query, gallery in each_camera_asks(rows, data.val_identities, data.val_cameras):
        plain.append(rank_gallery(*query, *gallery).mean_ap)
        order = k_reciprocal(query[0], gallery[0])
        reranked.append(rank_distances(order, *query[1:], *gallery[1:], name="k-reciprocal").mean_ap)
    return {"across": statistics.mean(plain), "reranked": statistics.mean(reranked)}


def row_of(
    name: str,
    variant: str,
    seed: int,
    minutes: float,
    digest: str,
    epochs: list[Epoch],
    across: dict[str, float],
) -> Row:
    last = epochs[-1]
    return across | {
        "objective": name,
        "variant": variant,
        "seed": seed,
        "minutes": minutes,
        "digest": digest,
        "steps": last.step,
        "mean_ap": last.figures["val_mean_ap"],
        "rank1": last.figures["val_rank1"],
        "epochs": [{"step": epoch.step, **epoch.figures} for epoch in epochs],
    }


def difference(rows: list[Row], reference: dict[int, Row]) -> str:
    """Of mAP to the reference's run of the same seed: mean and half the 95 % interval of Student's t."""
    gaps = [row["mean_ap"] - reference[row["seed"]]["mean_ap"] for row in rows if row["seed"] in reference]
    if not gaps:
        return ""
    if len(gaps) == 1:
        return f"{gaps[0]:+.3f}"
    return f"{statistics.mean(gaps):+.3f} ± {reach(np.asarray(gaps)):.3f}"


def table(rows: list[Row], minutes: float) -> None:
    shown = [row for row in rows if row["minutes"] == minutes]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in shown:
        groups.setdefault((row["objective"], row["variant"]), []).append(row)
    reference = {row["seed"]: row for row in groups.get((REFERENCE, ""), [])}
    # Files of earlier versions have no figures across cameras.
    figures = {key: title for key, title in _FIGURES.items() if all(key in row for row in shown)}
    lines = []
    for (name, variant), found in groups.items():
        means = [f"{statistics.mean(row[key] for row in found):.3f}" for key in figures]
        steps = f"{statistics.mean(row['steps'] for row in found):.0f}"
        lines.append((name, variant, len(found), steps, *means, difference(found, reference)))
    columns = ("objective", "variant", "seeds", "steps", *figures.values(), "mAP to batch_hard's")
    title = f"People held out, {minutes:g} minutes of one core each ({abilities()})"
    report(title, columns, lines, {}, False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=CUHK03)
    parser.add_argument("--params", default="recipes/cuhk03.yaml")
    parser.add_argument("--objectives", default="batch_hard,quadruplet,hierarchical")
    parser.add_argument("--minutes", type=float, default=2.5, help="of a run; 0: its steps")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--people", type=int, default=100, help="held out")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of params, any number"
    )
    parser.add_argument("--name", default="", help="of the variant in the table; left out: what is set")
    parser.add_argument("--begin", action="store_true", help="prints what the start is worth, too")
    parser.add_argument("--results", type=Path, default=Path("headline.json"))
    options = parser.parse_args()
    params = with_values(load_params(options.params), settings("--set", options.set))
    for name in options.objectives.split(","):
        if name not in params.objectives:
            known = ", ".join(params.objectives)
            raise UsageError(f"--objectives: {name!r} is not in {options.params}: take of {known}")
    variant = options.name or " ".join(options.set)
    torch.set_num_threads(1)
    keep_freed_memory()
    rows: list[Row] = read_json(options.results, "results") if options.results.exists() else []
    size = params.model.height, params.model.width
    people = cache(partial(read_people, options.images, options.people, *size))
    if options.begin:
        print(f"before any training: mAP {begun(params, people()):.3f}", flush=True)
    for seed in map(int, options.seeds.split(",")):
        for name in options.objectives.split(","):
            digest = digest_of(params, name, options.minutes, options.people)
            if any(row["digest"] == digest and row["seed"] == seed for row in rows):
                continue
            starts = options.results.with_suffix(".starts")
            model, epochs = trained(params, name, people(), options.minutes, seed, starts, options.people)
            across = across_cameras(model, people())
            rows.append(row_of(name, variant, seed, options.minutes, digest, epochs, across))
            write_json(options.results, rows)
            curve = " ".join(f"{e.step}:{e.figures['val_mean_ap']:.3f}" for e in epochs)
            print(f"seed {seed}  {name}  {variant}: mAP by step {curve}", flush=True)
    table(rows, options.minutes)


if __name__ == "__main__":
    try:
        main()
    except ReidError as error:
        raise SystemExit(f"headline.py: {error}") from None
