"""The files of a model directory with a fitted metric folded in, each held against the metric in NumPy.
Torch-free.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.stage.console import say, working
from reid.card import (
    MetricRecord,
    ModelCard,
    SelfTestRecord,
    fitted_fingerprint,
    save_card,
)
from reid.errors import ReidError
from reid.evaluation.within_camera import seen_by_two
from reid.files import sha256_of
from reid.linear_metric import FittedMetric
from reid.linear_metric.graph import fold_file
from reid.model_files import PAIR_METRIC
from reid.parity import Limits, People, check_accuracy, hold_against, measure_accuracy
from reid.processors import processors
from reid.self_test import LEAST_COSINE, SELF_TEST_NAME, SelfTest, read_self_test, write_self_test
from serving.embedding import embed_files
from serving.runtime import BACKENDS, Embedder

__all__ = ["Held", "write_folded"]

_ROLES = {"fp32": "fp32", "openvino": "fp32", "fp16": "fp16", "int8": "int8", "openvino_int8": "int8"}
"""Of a card's files, what can be folded into, and the precision whose limits it is held against."""


@dataclass(frozen=True, eq=False)
class Held:
    """Pictures of held-out people and what the metric makes of the model's embeddings of them, (N, R)."""

    paths: Sequence[Path]
    embeddings: npt.NDArray[np.float32]
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]


def write_folded(
    card: ModelCard,
    model_dir: Path,
    folder: Path,
    metric: FittedMetric,
    record: MetricRecord,
    held: Held,
    embedder: Embedder,
    threads: int | None,
) -> None:
    """Write files, self-test and card without thresholds, which are of the old distances.

    A file of lower precision that strays, and an engine, which cannot be added to, are left out with the
    reason in the card; so is the learned pair metric, which knows the old embeddings.

    Args:
        card: of the model.
        model_dir: its directory.
        folder: an empty directory.
        metric: fitted to the model's embeddings.
        record: for the new card.
        held: what every file is held against.
        embedder: of the model in float32.
        threads: inferences side by side.

    Raises:
        ReidError: a float32 file strays from the metric, or cannot be opened.
    """
    test = _self_test(card, model_dir, metric, embedder)
    write_self_test(test, folder / SELF_TEST_NAME)
    new = card.model_copy(
        update={
            "dim": metric.dim,
            "normalised": True,
            "files": {},
            "fingerprint": fitted_fingerprint(card.fingerprint, metric.to_bytes()),
            "thresholds": (),
            "fitted_metric": record,
            "by_group": None,
        }
    )
    lowest: dict[str, float] = {}
    left_out = dict(card.left_out)
    for role, precision in _ROLES.items():
        if role not in card.files:
            continue
        name = card.files[role].path
        with working(f"checking {name}"):
            file = fold_file(model_dir / name, folder / Path(name).name, metric, new.fingerprint)
            of_file = new.model_copy(update={"files": {role: file}})
            try:
                opened = _opened(of_file, folder, precision, threads)
                found = [_checked(one, precision, held, test) for one in opened]
            except ReidError as error:
                if precision == "fp32":
                    raise
                left_out[precision] = str(error)
                (folder / file.path).unlink()
                continue
        if not found:
            raise ReidError(f"no runtime here can open {name}: install the one that it is for")
        lowest[precision] = min(lowest.get(precision, 1.0), *found)
        new = new.model_copy(update={"files": {**new.files, role: file}})
    engines = [role for role in card.files if role.startswith("engine_")]
    if engines:
        say("TensorRT engines are left out: nothing can be added to one; dvc repro export builds them anew")
    if (model_dir / PAIR_METRIC).exists():
        say("the learned pair metric is left out: it was trained on embeddings without the fitted metric")
    for precision in left_out.keys() - card.left_out.keys():
        say(f"{precision} is left out: {left_out[precision]}")
    self_test = SelfTestRecord(path=SELF_TEST_NAME, sha256=sha256_of(folder / SELF_TEST_NAME), lowest=lowest)
    save_card(new.model_copy(update={"self_test": self_test, "left_out": left_out}), folder)


def _self_test(card: ModelCard, model_dir: Path, metric: FittedMetric, embedder: Embedder) -> SelfTest:
    """The model's own pictures and answers, where it has any; else rendered people."""
    if card.self_test is not None:
        own = read_self_test(model_dir / card.self_test.path)
        return SelfTest(own.images, metric.apply(own.embeddings))
    from reid.data.synthetic.few import rendered_people

    images = rendered_people(card.input.height, card.input.width)
    return SelfTest(images, metric.apply(embedder(images)))


def _opened(card: ModelCard, folder: Path, precision: str, threads: int | None) -> Iterator[Embedder]:
    """The file of a card in every runtime that is here and reads it."""
    for name, backend in BACKENDS.items():
        role = backend.role(card, precision)
        if role is not None and backend.present():
            path = folder / card.files[role].path
            session = backend.open(path, card, precision, threads or processors())
            yield Embedder(session, card, name, precision, path.name)


def _checked(embedder: Embedder, precision: str, held: Held, test: SelfTest) -> float:
    """The lowest cosine of the self-test's pictures.

    Raises:
        ReidError: the file strays from the metric, or ranks the held-out people worse.
    """
    limits = Limits(LEAST_COSINE)
    file = f"{embedder.card.files[next(iter(embedder.card.files))].path} in {embedder.backend}"
    rows = embed_files(embedder, held.paths).embeddings
    names = [path.name for path in held.paths]
    parity = hold_against(held.embeddings, rows, names, precision, limits, file)
    if seen_by_two(held.identities, held.cameras):
        people = People(np.empty((0, 0, 0, 3), np.uint8), held.identities, held.cameras)
        accuracy = (measure_accuracy(one, people) for one in (held.embeddings, rows))
        check_accuracy(next(accuracy), next(accuracy), limits.map_fall, file, parity)
    return float(test.cosines(embedder(test.images)).min())
