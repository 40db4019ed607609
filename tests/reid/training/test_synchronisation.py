"""A training step lets no GPU wait: nothing that is calculated there is looked at, but whether the step
before was finite.

There is no GPU here. In its place the tensors of the processor count as far away, and torch's dispatcher
reports every operation whose result the processor must know to go on: numbers taken out of tensors, and
operations whose result has a size that depends on values.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from reid.config import Params, load_params, settings_of, with_values
from reid.data.auto_augment import OPERATIONS, apply_operations
from reid.metric import host, mining
from reid.models.embedder import build_model
from reid.training import loop
from reid.training.batches import TrainingData
from reid.training.trial import loss_and_batches, model_spec

ROOT = Path(__file__).parents[3]
PEOPLE, IMAGES, STEPS = 10, 4, 3
WAITS = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::equal",
    "aten::_linalg_check_errors",
}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class Waits(TorchDispatchMode):
    """Counts operations for which the processor would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.paused = False

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = operation._schema.name
        by_mask = name in INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if not self.paused and (name in WAITS or by_mask):
            self.found[name] += 1
        return operation(*args, **(kwargs or {}))

    @contextmanager
    def pause(self) -> Iterator[None]:
        self.paused = True
        yield
        self.paused = False


@pytest.fixture(scope="module")
def params() -> Params:
    tiny = {"backbone": "timm:test_efficientnet", "weights": "none", "height": 32, "width": 16}
    short = {"steps": STEPS, "epoch_steps": STEPS, "identities": 4, "images": 4, "precision": "float32"}
    return with_values(
        load_params(ROOT / "params.yaml"),
        {f"model.{key}": value for key, value in tiny.items()}
        | {f"train.{key}": value for key, value in short.items()},
    )


@pytest.fixture(scope="module")
def data() -> TrainingData:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (PEOPLE * IMAGES, 32, 16, 3), dtype=np.uint8)
    nobody = np.empty(0, np.str_)
    return TrainingData(
        images,
        np.repeat(np.arange(PEOPLE), IMAGES).astype(np.int64),
        np.array(["a", "b"] * (PEOPLE * IMAGES // 2)),
        [Path(f"{number}.png") for number in range(len(images))],
        images[:0],
        nobody,
        nobody,
    )


def waits_of(name: str, params: Params, data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    model = build_model(model_spec(params))
    objective, plan = loss_and_batches(params, name, PEOPLE, model.dim, PEOPLE * IMAGES)
    # the warm-up of the adaptive margin is a step's own question
    settings = settings_of(params, name).model_copy(update={"steps": STEPS, "epoch_steps": STEPS})
    waits = Waits()

    def labels_on(device: torch.device, labels: Tensor) -> Tensor:
        with waits.pause():  # these are in the processor's memory with a GPU, too
            return mining.labels_on(device, labels)

    monkeypatch.setattr(loop, "labels_on", labels_on)
    monkeypatch.setattr(host, "is_near", lambda tensor: False)
    with waits:
        loop.train(model, objective, data, settings, seed=1, plan=plan)
    return waits.found


@pytest.mark.parametrize("name", ["batch_hard", "quadruplet", "hierarchical"])
def test_a_step_of_the_default_objectives_waits_for_nothing(
    name: str, params: Params, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    # once, before the first step: how many steps the averaged weights hold already
    assert waits_of(name, params, data, monkeypatch) == {"aten::_local_scalar_dense": 1}


def test_nor_does_any_augmentation(
    params: Params, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("min_crop", "grey", "blur", "compression", "colour_jitter", "auto_augment", "erasing")
    shares = dict.fromkeys(names, 0.5)
    everything = with_values(params, {f"train.{name}": share for name, share in shares.items()})
    assert waits_of("batch_hard", everything, data, monkeypatch) == {"aten::_local_scalar_dense": 1}


@pytest.mark.parametrize("name", OPERATIONS)
def test_nor_does_any_operation_of_auto_augment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "is_near", lambda tensor: False)
    images = torch.randint(255, (3, 32, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    operations = torch.full((3,), list(OPERATIONS).index(name))
    with Waits() as waits:
        changed = apply_operations(images, operations, torch.tensor([-0.7, 0.2, 1.0]))
    assert waits.found == {}
    assert torch.equal(changed, images) == (name == "identity")


def test_nor_does_a_memory_of_earlier_batches(
    params: Params, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembering = with_values(
        params,
        {"objectives.batch_hard.terms": {"cross_batch_memory": {"options": {"memory": 24, "start": 1}}}},
    )
    assert waits_of("batch_hard", remembering, data, monkeypatch) == {"aten::_local_scalar_dense": 1}


def test_nor_does_a_teacher(params: Params, data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = with_values(params, {"train.self_distillation": 1.0})
    assert waits_of("batch_hard", taught, data, monkeypatch) == {"aten::_local_scalar_dense": 1}


def test_nor_does_a_step_of_learners_with_people_of_their_own(
    params: Params, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided = with_values(params, {"objectives.batch_hard.divide": {"learners": 2, "share": 1.0}})
    assert waits_of("batch_hard", divided, data, monkeypatch) == {"aten::_local_scalar_dense": 1}


def test_what_would_wait_is_seen() -> None:
    values = torch.arange(4.0)
    with Waits() as waits:
        float(values.sum())
        values[values > 1]
        values.unique()
        values.nonzero()
    assert waits.found == {
        "aten::_local_scalar_dense": 1,
        "aten::index": 1,
        "aten::_unique2": 1,
        "aten::nonzero": 1,
    }


def test_what_is_not_finite_is_found_a_step_later_with_its_images(
    params: Params, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reid.errors import ReidError

    monkeypatch.setattr(host, "is_near", lambda tensor: False)
    model = build_model(model_spec(params))
    objective, plan = loss_and_batches(params, "batch_hard", PEOPLE, model.dim)
    steps: list[int] = []
    backbone, seen = model.backbone.forward, []

    def spoilt(images: Tensor) -> Tensor:
        seen.append(len(images))
        return backbone(images) * (torch.nan if len(seen) == 2 else 1.0)

    monkeypatch.setattr(model.backbone, "forward", spoilt)
    with pytest.raises(ReidError, match=r"^the embeddings are not finite at step 1: .* held \d+\.png, "):
        loop.train(
            model,
            objective,
            data,
            settings_of(params, "batch_hard"),
            seed=1,
            plan=plan,
            on_step=lambda step, _: steps.append(step),
        )
    assert steps == [1, 2]
