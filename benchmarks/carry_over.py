"""What a model learns from rendered people alone, and how far it carries over to real ones.

Trains MobileNetV2 from ImageNet's weights on people of ``reid.data.synthetic.wardrobe`` of one seed, with the
project's loop on one thread, for ``--minutes`` of the process's own processor time, and ranks with it people
rendered of another seed, PKU-Reid's and CUHK03's, each camera against the other; beside it ImageNet's weights
as they are, and torchreid's OSNet x0.25 from MSMT17. No real picture is trained on or chosen by.

``--without`` leaves ingredients of the renderer out, one training each (``each``: all of them in turn), and
tells what each is worth; ``--with`` adds, likewise, those that are off unless asked for. Every training is a
row of ``--results``; one that is in there is not run again.

``--teachers`` distils: models that ``--save`` wrote after trainings with other seeds, so on other people,
see each batch too, and the one that is trained is to find the same pictures alike as their mean does. For
choosing without a real picture there are two more thermometers: people rendered with all that no training
here has seen unless asked (``LATER``), and those of the town, which another renderer draws.
"""

import argparse
import hashlib
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from _measure import SHARED, abilities, report, settings
from _people import (
    CUHK03,
    OSNET,
    PATTERN,
    Features,
    Taught,
    each_camera_asks,
    imagenet,
    instance_norm,
    mix_styles,
    ready,
    taught_by,
    town_pictures,
)

from reid.config import load_params, with_values
from reid.data.datasets.folder import read_folder
from reid.data.store import load_images
from reid.data.synthetic import TownSpec
from reid.data.synthetic.wardrobe import INGREDIENTS, LATER, WardrobeSpec, render_people
from reid.errors import ReidError, UsageError
from reid.evaluation import rank_gallery
from reid.files import existing, read_json, write_json
from reid.memory import keep_freed_memory
from reid.models.embedder import EmbeddingModel, build_model, load_model, save_model
from reid.models.inference import embed_images
from reid.training.batches import TrainingData
from reid.training.loop import Epoch, train
from reid.training.modes import half_precision
from reid.training.trial import loss_and_batches, model_spec

PKU = SHARED / "data/pku_reid/dev"
Images = npt.NDArray[np.uint8]
Row = dict[str, Any]


def stored(
    spec: WardrobeSpec, processes: int, store: Path | None
) -> tuple[Images, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All crops of a spec, from ``store`` where they are in there already."""
    if store is None:
        return rendered(spec, processes)
    digest = hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()[:12]
    file = store / f"{digest}.npz"
    if not file.exists():
        store.mkdir(parents=True, exist_ok=True)
        np.savez(file, *rendered(spec, processes))
    with np.load(file) as found:
        return found["arr_0"], found["arr_1"], found["arr_2"]


def rendered(
    spec: WardrobeSpec, processes: int
) -> tuple[Images, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All crops of a spec, made by several processes: who makes what changes nothing."""
    parts = [range(start, min(start + 50, spec.people)) for start in range(0, spec.people, 50)]
    if processes == 1:
        return render_people(spec)
    with ProcessPoolExecutor(processes, get_context("spawn"), partial(cv2.setNumThreads, 1)) as pool:
        found = list(pool.map(partial(render_people, spec), parts))
    images, people, cameras = (np.concatenate([part[place] for part in found]) for place in range(3))
    return images, people, cameras


class Thermometer:
    """People to rank: those of camera 1 ask for those of camera 2, and the other way round."""

    def __init__(self, images: Images, people: npt.NDArray[Any], cameras: npt.NDArray[Any]) -> None:
        self.images, self.people, self.cameras = images, people.astype(str), cameras.astype(str)

    @classmethod
    def real(cls, folder: Path, height: int, width: int, people: int | None = None) -> "Thermometer":
        """Crops of a folder, of so many people drawn with seed 0."""
        records = read_folder(folder, PATTERN)
        names = sorted({record.identity for record in records})
        kept = set(np.random.default_rng(0).permutation(names)[:people].tolist())
        records = [record for record in records if record.identity in kept]
        images = load_images([record.path for record in records], height, width)
        return cls(images, np.array([r.identity for r in records]), np.array([r.camera for r in records]))

    @classmethod
    def made(cls, spec: WardrobeSpec) -> "Thermometer":
        """People of a spec; the cameras of each in two halves."""
        images, people, cameras = render_people(spec)
        return cls(images, people, cameras % 2)

    @classmethod
    def town(cls, spec: TownSpec) -> "Thermometer":
        """People whom the town's renderer draws, as two of its cameras see them."""
        images, who, seen_by = town_pictures(spec)
        two = np.isin(seen_by, np.unique(seen_by)[:2])
        return cls(images[two], who[two], seen_by[two])

    def figures(self, embed: Features) -> list[float]:
        """Rank-1 and mAP, one way and the other."""
        found: list[float] = []
        for query, gallery in each_camera_asks(embed(self.images), self.people, self.cameras):
            ranking = rank_gallery(*query, *gallery)
            found += [float(ranking.cmc[0]), float(ranking.mean_ap)]
        return found


def trained(
    data: TrainingData, options: argparse.Namespace, changes: dict[str, Any]
) -> tuple[EmbeddingModel, list[Epoch]]:
    """The model after so many minutes, and its epochs."""
    params = with_values(load_params(options.params), changes)
    seconds = 60 * options.minutes or None
    settings = params.train.model_copy(update={"max_seconds": seconds, "threads": 1})
    torch.manual_seed(options.seed)
    model = build_model(model_spec(params))
    instance_norm(model, options.instance_norm)
    if options.mix_styles:
        mix_styles(model, options.mix_styles)
    objective, plan = loss_and_batches(params, options.objective, int(data.labels.max()) + 1, model.dim)
    if options.teachers:
        objective = taught_by(objective, Taught(model, options.teachers), options.teach)
    epochs: list[Epoch] = []

    def said(epoch: Epoch) -> None:
        epochs.append(epoch)
        shown = {
            key: round(value, 3) for key, value in epoch.figures.items() if "val" in key or "loss" in key
        }
        print(f"step {epoch.step} {epoch.figures['images_per_second']:.0f}/s {shown}", flush=True)

    model, _ = train(
        model,
        objective,
        data,
        settings,
        seed=options.seed,
        plan=plan,
        checkpoint=options.checkpoint,
        on_epoch=said,
        clock=time.process_time,
    )
    if options.save:
        save_model(model, model_spec(params), options.save)
    return model, epochs


def together(teachers: list[Path]) -> Features:
    """What several models say side by side: their unit embeddings in one row, of norm 1 again."""
    models = [load_model(file)[0] for file in teachers]
    return lambda images: np.hstack([embed_images(model, images) for model in models]) / len(models) ** 0.5


def contact_sheet(spec: WardrobeSpec, file: Path) -> None:
    """Sixteen people, two a row, of each two crops in each of four cameras."""
    spec = replace(spec, people=16, cameras_per_person=4, images_per_camera=2)
    images, _, _ = render_people(spec)
    rows = np.concatenate(list(images.reshape(8, 16, *images.shape[1:]).swapaxes(0, 1)), axis=2)
    cv2.imwrite(str(file), np.concatenate(list(rows))[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 66))


def rendering_rate(spec: WardrobeSpec) -> None:
    """Crops a second of one process and of two, medians of three rounds; starting processes counts."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    count = len(rendered(replace(spec, people=2), 1)[0])  # opens what is made once
    for _ in range(3):
        for processes, values in seconds.items():
            began = time.perf_counter()
            count = len(rendered(spec, processes)[0])
            values.append(time.perf_counter() - began)
    lines = [(name, f"{count / statistics.median(values):.0f}") for name, values in seconds.items()]
    report(
        f"{count} crops of {spec.image_height} x {spec.image_width} ({abilities()})",
        ("processes", "crops/s"),
        lines,
        {},
        False,
    )


def variants(spec: WardrobeSpec, options: argparse.Namespace) -> dict[str, WardrobeSpec]:
    """What to train on, by the name of the training: the spec as it is, or ingredients left out or added in
    turn.
    """
    found: dict[str, WardrobeSpec] = {}
    asked = (("without", options.without, INGREDIENTS, 0.0), ("with", options.added, LATER, 1.0))
    for way, words, known, share in asked:
        names = [name for name in words.split(",") if name]
        for name in known if names == ["each"] else names:
            if name not in known:
                raise UsageError(f"--{way}: {name!r} is no such ingredient: take of {', '.join(known)}")
            found[f"{way} {name}"] = replace(spec, **{name: share})
    return found or {options.name or "all": spec}


def spec_with(spec: WardrobeSpec, words: list[str]) -> WardrobeSpec:
    """The spec as ``--render`` wants it.

    Raises:
        UsageError: there is no such field, or its value does not fit.
    """
    known = [field.name for field in fields(WardrobeSpec)]
    for word in words:
        if word.partition("=")[0] not in known:
            raise UsageError(f"--render {word}: no such field, take FIELD=VALUE of {', '.join(known)}")
    return replace(spec, **settings("--render", words))


def data_of(spec: WardrobeSpec, watched: Thermometer, processes: int, store: Path | None) -> TrainingData:
    images, people, cameras = stored(spec, processes, store)
    paths = [Path(f"{who:05d}_c{camera}") for who, camera in zip(people, cameras, strict=True)]
    return TrainingData(
        images, people, cameras.astype(str), paths, watched.images, watched.people, watched.cameras
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--cameras", type=int, default=96)
    parser.add_argument("--minutes", type=float, default=5, help="of a training; 0: its steps")
    parser.add_argument("--seed", type=int, default=7, help="of people, cameras and training")
    parser.add_argument("--params", default="recipes/rendered.yaml")
    parser.add_argument("--objective", default="multi_similarity", help="of params")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of params")
    parser.add_argument(
        "--render", action="append", default=[], metavar="FIELD=VALUE", help="of WardrobeSpec"
    )
    parser.add_argument("--without", default="", help="ingredients to leave out in turn, or each")
    parser.add_argument("--with", dest="added", default="", help="ingredients to add in turn, or each")
    parser.add_argument("--instance-norm", type=int, default=0, help="first blocks that have it by half")
    parser.add_argument("--mix-styles", type=float, default=0.0, help="share of the steps")
    parser.add_argument("--teachers", type=Path, nargs="*", default=[], help=".safetensors files of --save")
    parser.add_argument("--teach", type=float, default=10.0, help="weight of the agreement with the teachers")
    parser.add_argument("--name", default="", help="of the training in the table")
    parser.add_argument("--cuhk03-people", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1, help="that render")
    parser.add_argument("--store", type=Path, help="keeps crops; empty it when the renderer changes")
    parser.add_argument("--save", type=Path, default=None, help="the model, a .safetensors file")
    parser.add_argument("--checkpoint", type=Path, help="goes on from it; of one training alone")
    parser.add_argument(
        "--rate", action="store_true", help="prints how many crops a second are rendered, and ends"
    )
    parser.add_argument("--sheet", type=Path, help="writes a picture of people and ends")
    parser.add_argument("--results", type=Path, default=Path("carry_over.json"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    changes = settings("--set", options.set)
    params = with_values(load_params(options.params), changes)
    size = {"image_height": params.model.height, "image_width": params.model.width}
    spec = WardrobeSpec(people=options.people, cameras=options.cameras, seed=options.seed, **size)
    spec = spec_with(spec, options.render)
    if options.save and options.instance_norm:
        raise UsageError("--save with --instance-norm: no other command builds such a network, leave one out")
    if options.teachers and half_precision(params.train.precision):
        raise UsageError("--teachers with bfloat16: add --set train.precision=float32")
    taught_by_whom = [
        hashlib.sha256(existing(f, "teacher").read_bytes()).hexdigest() for f in options.teachers
    ]
    if options.sheet:
        contact_sheet(spec, options.sheet)
        return
    if options.rate:
        rendering_rate(spec)
        return
    trainings = variants(spec, options)
    if options.checkpoint and len(trainings) > 1:
        raise UsageError("--checkpoint is of one training: leave out or add one ingredient at a time")
    other = WardrobeSpec(
        people=100, cameras=24, cameras_per_person=4, images_per_camera=2, seed=options.seed + 1000, **size
    )
    unseen = replace(other, seed=options.seed + 2000, **dict.fromkeys(LATER, 1.0))
    thermometers = {
        "rendered": Thermometer.made(other),
        "other options": Thermometer.made(unseen),
        "town": Thermometer.town(TownSpec(people=100, seed=options.seed, **size)),
        "PKU-Reid": Thermometer.real(PKU, *size.values()),
        "CUHK03": Thermometer.real(CUHK03, *size.values(), options.cuhk03_people),
    }
    rows: list[Row] = read_json(options.results, "results") if options.results.exists() else []

    def measured(name: str, embed: Features, **facts: Any) -> None:
        figures = {key: thermometer.figures(embed) for key, thermometer in thermometers.items()}
        rows.append({"name": name, "figures": figures, **facts})
        write_json(options.results, rows)
        print(name, {key: [round(v, 3) for v in value] for key, value in figures.items()}, flush=True)

    for name, features in (("ImageNet, untrained", imagenet), ("OSNet x0.25, MSMT17", partial(ready, OSNET))):
        if not any(row["name"] == name for row in rows):
            measured(name, features())
    if options.teachers and not any(row.get("teachers") == taught_by_whom for row in rows):
        measured("the teachers together", together(options.teachers), teachers=taught_by_whom)
    for name, own in trainings.items():
        parts = [
            asdict(own),
            params.model_dump(),
            options.minutes,
            options.instance_norm,
            options.mix_styles,
            options.objective,
        ]
        if options.teachers:
            parts += [options.teach, taught_by_whom]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        if any(row.get("digest") == digest for row in rows):
            continue
        data = data_of(own, thermometers["PKU-Reid"], options.processes, options.store)
        model, epochs = trained(data, options, changes)
        curve = [[epoch.step, epoch.figures["val_mean_ap"]] for epoch in epochs]
        facts = {"minutes": options.minutes, "steps": epochs[-1].step, "curve": curve, "digest": digest}
        measured(name, lambda images, model=model: embed_images(model, images), **facts)
    ways = [f"{key}: r1, mAP" for key in thermometers]
    shown = [(row["name"], row.get("steps", ""), *(_means(row, key) for key in thermometers)) for row in rows]
    title = f"Trained on rendered people, one thread, means of both ways ({abilities()})"
    report(title, ("model", "steps", *ways), shown, {"rows": rows}, options.json)


def _means(row: Row, thermometer: str) -> str:
    """Rank-1 and mAP, of both ways; nothing of a thermometer that rows of earlier versions do not have."""
    figures = row["figures"].get(thermometer)
    return f"{sum(figures[::2]) / 2:.3f}, {sum(figures[1::2]) / 2:.3f}" if figures else ""


if __name__ == "__main__":
    try:
        main()
    except ReidError as error:
        raise SystemExit(f"carry_over.py: {error}") from None
