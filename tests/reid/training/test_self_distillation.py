"""The agreement with the averaged weights: its formula, who gets a gradient, and that the loop asks the right
networks.
"""

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reid.config import Params, TrainParams, load_params, with_values
from reid.errors import UsageError
from reid.models.embedder import EmbeddingModel, build_model, normalise
from reid.training.distributed import ALONE, Ranks
from reid.training.loop import train
from reid.training.self_distillation import Teacher, ramp, relation_loss
from reid.training.trial import load_training_data, loss_and_batches, model_spec
from tests.reid.training.interrupted import assert_same_weights_after_a_kill

STILL = {"flip": False, "pad_crop": 0, "erasing": 0.0, "colour_jitter": 0.0, "precision": "float32"}


def rows(count: int, seed: int, dim: int = 5) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loops(student: Tensor, teacher: Tensor) -> float:
    def shares(x: Tensor, i: int) -> dict[int, float]:
        cosine = torch.nn.functional.cosine_similarity(x[i : i + 1], x)
        weights = {j: math.exp(float(cosine[j]) / 0.1) for j in range(len(x)) if j != i}
        return {j: weight / sum(weights.values()) for j, weight in weights.items()}

    total = 0.0
    for i in range(len(student)):
        ours, theirs = shares(student, i), shares(teacher, i)
        total += sum(theirs[j] * math.log(theirs[j] / ours[j]) for j in ours)
    return 0.1**2 * total / len(student)


@given(st.integers(1, 7), st.integers(0, 99))
@settings(deadline=None)
def test_it_is_the_divergence_of_whom_each_row_resembles(count: int, seed: int) -> None:
    student, teacher = rows(count, seed), rows(count, seed + 100)
    found = float(relation_loss(student, teacher))
    assert found == pytest.approx(loops(student, teacher), abs=1e-9)
    assert (found > 1e-5) == (count > 2)  # with one other there is nothing to compare
    assert float(relation_loss(3 * student, 0.1 * student)) == pytest.approx(
        0, abs=1e-9
    )  # lengths do not count


def test_the_student_alone_gets_a_gradient_and_the_right_one() -> None:
    student, teacher = rows(5, 0).requires_grad_(), rows(5, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: relation_loss(x, teacher), (student,))
    relation_loss(student, teacher).backward()
    assert teacher.grad is None
    assert torch.count_nonzero(student.grad) > 0


@pytest.mark.parametrize("spoilt", [torch.zeros(6, 5), torch.ones(6, 5), 1e20 * torch.ones(6, 5)])
def test_hostile_rows_have_finite_gradients(spoilt: Tensor) -> None:
    for student, teacher in ((spoilt, rows(6, 0).float()), (rows(6, 0).float(), spoilt)):
        leaf = student.clone().requires_grad_()
        value = relation_loss(leaf, teacher)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(leaf.grad).all()


def test_the_weight_rises_with_the_warm_up() -> None:
    assert ramp(0.0, 0.2) == pytest.approx(math.exp(-5))
    assert ramp(0.1, 0.2) == pytest.approx(math.exp(-1.25))
    assert ramp(0.2, 0.2) == ramp(0.9, 0.2) == ramp(0.0, 0.0) == 1


def figures_of_one_step(params: Params, catalog: Path) -> tuple[dict[str, float], float]:
    """What a step on all training images reports, and the loss of its features worked out beside it."""
    torch.manual_seed(params.seed)
    model = build_model(model_spec(params))
    data = load_training_data(catalog, params.model.height, params.model.width)
    objective, plan = loss_and_batches(params, "batch_hard", 6, model.dim)
    student, teacher = deepcopy(model).train(), deepcopy(model).eval()
    images = normalise(torch.from_numpy(data.images.copy()))
    with torch.no_grad():
        expected = relation_loss(
            student.neck(student(images)),
            teacher.neck(teacher(images)),
        )
    seen: list[dict[str, float]] = []
    train(
        model,
        objective,
        data,
        params.train,
        seed=1,
        plan=plan,
        on_epoch=lambda epoch: seen.append(epoch.figures),
    )
    return seen[0], float(expected)


def test_a_step_adds_the_disagreement_with_the_average_of_now(
    tiny_params: Params, tiny_catalog: Path
) -> None:
    """The first average is the network itself, by the statistics that it came with."""
    everyone = {"identities": 6, "images": 4, "steps": 1, "epoch_steps": 1, "warmup_share": 0.0}
    plain = with_values(tiny_params, {f"train.{key}": value for key, value in (STILL | everyone).items()})
    taught = with_values(plain, {"train.self_distillation": 500})
    without, _ = figures_of_one_step(plain, tiny_catalog)
    found, expected = figures_of_one_step(taught, tiny_catalog)
    assert "self_distillation" not in without
    assert expected > 1e-5
    assert found["self_distillation"] == pytest.approx(expected, rel=1e-3)
    assert found["loss"] - without["loss"] == pytest.approx(500 * expected, rel=1e-2)


def test_the_teacher_is_what_the_training_returns(
    tiny_params: Params, tiny_catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows the network, then, and no step but that of the average moves it."""
    asked: list[EmbeddingModel] = []
    made = Teacher.of

    def note(model: EmbeddingModel, settings: TrainParams, ranks: Ranks) -> Teacher | None:
        asked.append(model)
        return made(model, settings, ranks)

    monkeypatch.setattr(Teacher, "of", note)
    params = with_values(tiny_params, {"train.self_distillation": 1.0, "train.steps": 1})
    model = build_model(model_spec(params))
    data = load_training_data(tiny_catalog, params.model.height, params.model.width)
    objective, plan = loss_and_batches(params, "batch_hard", 6, model.dim)
    trained, _ = train(model, objective, data, params.train, seed=1, plan=plan)
    assert [trained] == asked
    assert trained is not model


def test_the_teacher_is_asked_without_a_trace(tiny_params: Params) -> None:
    asked = with_values(tiny_params, {"train.self_distillation": 1.0})
    model = build_model(model_spec(tiny_params))
    teacher = Teacher.of(model, asked.train, ALONE)
    assert teacher is not None and Teacher.of(model, tiny_params.train, ALONE) is None
    before = deepcopy(model.state_dict())
    features = teacher.look(torch.rand(4, 3, 32, 16))
    assert not features.requires_grad and features.dtype == torch.float32
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_it_continues_to_the_same_weights(tiny_params: Params, tiny_catalog: Path, tmp_path: Path) -> None:
    params = with_values(tiny_params, {"train.self_distillation": 2.0})
    assert_same_weights_after_a_kill(params, "batch_hard", tiny_catalog, tmp_path)


def test_without_averaged_weights_there_is_no_teacher() -> None:
    params = load_params(Path(__file__).parents[3] / "params.yaml")
    with pytest.raises(
        UsageError, match=r"train\.self_distillation: its teacher .* set train\.ema"
    ) as caught:
        with_values(params, {"train.ema": 0.0, "train.self_distillation": 0.5})
    assert "\n" not in str(caught.value)
    assert with_values(params, {"train.ema": 0.0}).train.self_distillation == 0
