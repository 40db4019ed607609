"""A checkpoint restores all that a training changes, and refuses what is none."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from reid.config import Params, TermParams
from reid.errors import ReidError
from reid.models.embedder import EmbeddingModel
from reid.training.checkpoint import load_checkpoint, save_checkpoint
from reid.training.objective import build_objective
from reid.training.state import TrainingState

FIGURES = {"loss": 1.5}


def state_of(params: Params, channels: int = 4) -> TrainingState:
    """Of a network small enough to look at; its weights differ from one call to the next."""
    layer = torch.nn.Conv2d(3, channels, 3)
    model = EmbeddingModel(layer, channels).train().to(memory_format=torch.channels_last)
    terms = {"batch_hard": TermParams(), "softmax": TermParams(options={"label_smoothing": 0.1})}
    objective = build_objective(terms, num_classes=2, embedding_dim=channels)
    return TrainingState.start(model, objective, params.train)


def trained_step(state: TrainingState, images: torch.Tensor) -> None:
    features = state.model(images)
    terms = {"batch_hard": features, "softmax": state.model.neck(features)}
    state.optimizer.zero_grad()
    state.objective(terms, torch.tensor([0, 0, 1, 1])).value.backward()
    state.optimizer.step()
    state.averaged.update()
    state.step += 1


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(4, 3, 8, 6)


def assert_equal_states(one: TrainingState, other: TrainingState) -> None:
    for name, module in one.modules.items():
        theirs = other.modules[name].state_dict()
        for key, value in module.state_dict().items():
            assert torch.equal(value, theirs[key]), f"{name} {key}"
    moments, others = (list(state.optimizer.state_dict()["state"].values()) for state in (one, other))
    assert len(moments) == len(others) > 0
    for ours, kept in zip(moments, others, strict=True):
        assert all(torch.equal(ours[key], kept[key]) for key in ours)


def test_a_restored_state_is_the_saved_one_and_takes_the_same_next_step(
    tiny_params: Params, images: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    state, other = state_of(tiny_params), state_of(tiny_params)
    trained_step(state, images)
    state.epoch = 3
    state.elapsed = 2.5
    save_checkpoint(path, state, FIGURES)
    assert load_checkpoint(path, other) == FIGURES
    assert (other.epoch, other.step, other.elapsed) == (3, 1, 2.5)
    assert_equal_states(state, other)
    # Moments that were laid out otherwise than their weights would be taken for those of other weights here.
    for each in (state, other):
        trained_step(each, images)
    assert_equal_states(state, other)


def test_what_a_file_holds(tiny_params: Params, images: torch.Tensor, tmp_path: Path) -> None:
    """The format that earlier versions wrote and read."""
    path = tmp_path / "checkpoint.safetensors"
    state = state_of(tiny_params)
    trained_step(state, images)
    save_checkpoint(path, state, FIGURES)
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
        names = set(stream.keys())
    assert metadata["format"] == "reid-checkpoint-1"
    assert json.loads(metadata["position"]) == {"epoch": 0, "step": 1, "elapsed": 0.0, "figures": FIGURES}
    assert {
        "model/backbone.weight",
        "averaged/module.backbone.weight",
        "averaged/n_averaged",
        "objective/terms.softmax.classifier.weight",
        "optimizer/0/exp_avg",
        "optimizer/0/exp_avg_sq",
        "optimizer/0/step",
    } <= names


def test_files_that_are_not_its_checkpoint_are_refused(
    tiny_params: Params, images: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    state = state_of(tiny_params)
    trained_step(state, images)
    save_checkpoint(path, state, FIGURES)
    with pytest.raises(ReidError, match="another network"):
        load_checkpoint(path, state_of(tiny_params, channels=5))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ReidError, match="cannot be read"):
        load_checkpoint(path, state)


def test_a_checkpoint_of_a_training_with_other_frozen_parts_is_refused(
    tiny_params: Params, images: torch.Tensor, tmp_path: Path
) -> None:
    frozen = state_of(tiny_params)
    frozen.model.backbone.requires_grad_(False)
    frozen = TrainingState.start(frozen.model, frozen.objective, tiny_params.train)
    trained_step(frozen, images)
    save_checkpoint(tmp_path / "a.safetensors", frozen, FIGURES)
    with pytest.raises(ReidError, match=r"of another network or objective .* other ones than these"):
        load_checkpoint(tmp_path / "a.safetensors", state_of(tiny_params))
