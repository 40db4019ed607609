"""The recipe's switches, each seen in what a training does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from reid.config import Params, with_values
from reid.models.depth import blocks_of
from reid.models.embedder import EmbeddingModel, build_model
from reid.training.loop import train
from reid.training.modes import half_precision
from reid.training.objective import build_objective
from reid.training.trial import load_training_data, model_spec
from tests.reid.training.interrupted import assert_same_weights_after_a_kill


def trained(
    params: Params, catalog: Path, steps_seen: list[dict[str, Any]] | None = None
) -> tuple[EmbeddingModel, dict[str, Tensor]]:
    """The network after a training without averaging, and its weights before; ``steps_seen`` collects rates
    and what was frozen.
    """
    torch.manual_seed(params.seed)
    torch.set_num_threads(1)
    model = build_model(model_spec(params))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = load_training_data(catalog, params.model.height, params.model.width)
    terms = params.objectives["batch_hard"].terms
    objective = build_objective(terms, num_classes=6, embedding_dim=model.dim)
    first = next(model.backbone.parameters())

    def look(_step: int, _steps: int) -> None:
        if steps_seen is not None:
            steps_seen.append({"weight": first.detach().clone(), "frozen": not first.requires_grad})

    train(model, objective, data, params.train, seed=params.seed, on_step=look)
    return model, before


def largest_difference(one: EmbeddingModel, two: EmbeddingModel) -> float:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_a_frozen_backbone_stays_as_it_was_until_its_step(tiny_params: Params, tiny_catalog: Path) -> None:
    seen: list[dict[str, Any]] = []
    model, before = trained(with_values(tiny_params, {"train.freeze_steps": 3}), tiny_catalog, seen)
    start = next(
        value for key, value in before.items() if key.startswith("backbone.") and key.endswith("weight")
    )
    assert [step["frozen"] for step in seen] == [True, True, True, False, False, False]
    assert all(torch.equal(step["weight"], start) for step in seen[:3])
    assert not torch.equal(seen[3]["weight"], start)
    assert all(p.requires_grad for p in model.backbone.parameters())

    always, before = trained(with_values(tiny_params, {"train.freeze_steps": 6}), tiny_catalog)
    after = always.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items() if key.startswith("backbone."))
    assert not torch.equal(after["bn.weight"], before["bn.weight"])


def test_frozen_training_continues_to_the_same_weights(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    params = with_values(tiny_params, {"train.freeze_steps": 3, "train.schedule": "one_cycle"})
    assert_same_weights_after_a_kill(params, "batch_hard", tiny_catalog, tmp_path)


@pytest.mark.parametrize("steps", [0, 2])
def test_first_blocks_keep_their_weights(tiny_params: Params, tiny_catalog: Path, steps: int) -> None:
    params = with_values(tiny_params, {"train.freeze_blocks": 1, "train.freeze_steps": steps})
    model, before = trained(params, tiny_catalog)
    blocks = model.backbone
    while len(list(blocks.children())) == 1:
        (blocks,) = blocks.children()
    first, second, *_ = blocks.children()
    names = {id(value): name for name, value in model.named_parameters()}
    assert all(torch.equal(value, before[names[id(value)]]) for value in first.parameters())
    assert any(not torch.equal(value, before[names[id(value)]]) for value in second.parameters())


def test_first_blocks_learn_more_slowly_than_the_last(tiny_params: Params, tiny_catalog: Path) -> None:
    """Adam moves a weight by about its rate whatever the gradient, so what a weight moved tells its rate."""
    plain = with_values(tiny_params, {"train.weight_decay": 0.0, "train.ema": 0.0})
    slow = with_values(plain, {"train.layer_decay": 0.5})
    moved = []
    for params in (plain, slow):
        model, before = trained(params, tiny_catalog)
        names = {id(value): name for name, value in model.named_parameters()}
        blocks = [*blocks_of(model.backbone), [model.bn.weight]]
        steps = [[(p.detach() - before[names[id(p)]]).abs().max() for p in block] for block in blocks]
        moved.append([float(max(step)) for step in steps])
    ratios = [one / other for one, other in zip(moved[1], moved[0], strict=True)]
    assert ratios[-1] == pytest.approx(1, abs=0.1)  # the neck, behind the backbone
    assert ratios[-2] == pytest.approx(0.5, abs=0.1)
    assert ratios[-3] == pytest.approx(0.25, abs=0.1)
    assert ratios[0] == pytest.approx(0.5 ** (len(ratios) - 1), rel=0.3)


def test_layer_decay_continues_to_the_same_weights(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    params = with_values(tiny_params, {"train.layer_decay": 0.7})
    assert_same_weights_after_a_kill(params, "batch_hard", tiny_catalog, tmp_path)


def test_a_memory_of_earlier_batches_continues_to_the_same_weights(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    term = {"options": {"memory": 10, "start": 1, "margin": 0.0}}
    params = with_values(
        tiny_params, {"objectives.batch_hard.terms.cross_batch_memory": term, "train.auto_augment": 0.5}
    )
    whole, broken = assert_same_weights_after_a_kill(params, "batch_hard", tiny_catalog, tmp_path)
    assert (whole / "objective.safetensors").read_bytes() == (broken / "objective.safetensors").read_bytes()
    kept = load_file(whole / "objective.safetensors")
    assert int(kept["terms.cross_batch_memory.taken"]) == 36  # six batches of six


def test_one_cycle_is_another_training(tiny_params: Params, tiny_catalog: Path) -> None:
    plain, _ = trained(tiny_params, tiny_catalog)
    cycled, _ = trained(with_values(tiny_params, {"train.schedule": "one_cycle"}), tiny_catalog)
    assert largest_difference(plain, cycled) > 1e-6


def test_half_precision_stays_near_and_keeps_float32_weights(tiny_params: Params, tiny_catalog: Path) -> None:
    gentle = with_values(tiny_params, {"train.learning_rate": 1e-5, "train.weight_decay": 0.0})
    plain, _ = trained(with_values(gentle, {"train.precision": "float32"}), tiny_catalog)
    auto, _ = trained(with_values(gentle, {"train.precision": "auto"}), tiny_catalog)
    half, _ = trained(with_values(gentle, {"train.precision": "bfloat16"}), tiny_catalog)
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    # Adam moves a weight by at most the rate a step
    assert 0 < largest_difference(plain, half) < 2 * 6 * 1e-5
    assert largest_difference(half if half_precision("auto") else plain, auto) == 0


def test_a_limit_on_the_processors_abilities_counts_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 that oneDNN must emulate takes ten times as long as float32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    for limit, expected in (
        ("", True),
        ("AVX512_CORE_BF16", True),
        ("avx2", False),
        ("AVX512_CORE_VNNI", False),
    ):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert half_precision("auto") is expected
        assert half_precision("bfloat16") is True


def test_the_memory_layout_changes_rounding_alone(tiny_params: Params, tiny_catalog: Path) -> None:
    one_step = {
        "train.learning_rate": 1e-5,
        "train.weight_decay": 0.0,
        "train.steps": 1,
        "train.precision": "float32",
    }
    gentle = with_values(tiny_params, one_step)
    last, before = trained(gentle, tiny_catalog)
    first, _ = trained(with_values(gentle, {"train.channels_last": False}), tiny_catalog)
    key = next(
        key for key, value in before.items() if value.ndim == 4 and value.shape[1] > 1 and value.shape[2] > 1
    )
    assert last.state_dict()[key].is_contiguous(memory_format=torch.channels_last)
    assert first.state_dict()[key].is_contiguous()
    other, _ = trained(with_values(gentle, {"seed": 8}), tiny_catalog)

    def apart(two: EmbeddingModel, layers: str) -> float:
        """Largest difference of the running means from those with channels last."""
        theirs = two.state_dict()
        means = [key for key in theirs if key.startswith(layers) and key.endswith("running_mean")]
        return max(float((last.state_dict()[key] - theirs[key]).abs().max()) for key in means)

    # Untrained depthwise layers answer with variances below BatchNorm's epsilon: over the network's depth
    # rounding grows a hundredfold.
    assert apart(first, "backbone.features.0.") < 1e-6
    assert apart(first, "backbone.") < 1e-4
    assert apart(other, "backbone.") > 1e-2
