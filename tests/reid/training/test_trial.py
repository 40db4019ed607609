import json
from pathlib import Path

import pytest
import torch

from reid.config import Params
from reid.errors import ReidError
from reid.models.embedder import load_model
from reid.training.loop import Epoch
from reid.training.trial import run_training


class Killed(BaseException):
    """Stands for SIGKILL between two epochs."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder / "model.safetensors")[0].state_dict()


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.equal(value, two[key]), key


@pytest.mark.parametrize("objective", ["batch_hard", "quadruplet", "hierarchical"])
def test_killed_and_continued_ends_with_the_same_weights(
    objective: str, tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    figures = run_training(tiny_params, objective, tiny_catalog, whole)
    assert {
        "loss",
        "val_mean_ap",
        "val_rank1",
        f"{objective}.active_fraction",
        "softmax.loss",
    } <= figures.keys()

    def kill(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise Killed

    with pytest.raises(Killed):
        run_training(tiny_params, objective, tiny_catalog, broken, on_epoch=kill)
    assert not (broken / "model.safetensors").exists()
    run_training(tiny_params, objective, tiny_catalog, broken)
    assert_same(weights(whole), weights(broken))
    assert [row["epoch"] for row in json.loads((broken / "history.json").read_text())] == [1, 2, 3]
    assert not (broken / "checkpoint.safetensors").exists()
    assert (whole / "tree.npz").exists() == (objective == "hierarchical")


def test_another_seed_other_weights_and_a_start_is_used(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    run_training(tiny_params, "batch_hard", tiny_catalog, folders[0])
    run_training(tiny_params.model_copy(update={"seed": 8}), "batch_hard", tiny_catalog, folders[1])
    frozen = tiny_params.model_copy(
        update={"train": tiny_params.train.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})}
    )
    run_training(frozen, "batch_hard", tiny_catalog, folders[2], start=folders[0] / "model.safetensors")
    key = "backbone.0.0.weight"
    one, two, three = (
        next(value for name, value in weights(folder).items() if value.ndim == 4) for folder in folders
    )
    assert not torch.equal(one, two), key
    assert torch.allclose(one, three, atol=1e-6)


def test_a_loss_that_is_not_finite_names_the_images(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    wild = tiny_params.model_copy(
        update={"train": tiny_params.train.model_copy(update={"learning_rate": 1e30, "warmup_share": 0.0})}
    )
    with pytest.raises(ReidError, match=r"\.png") as caught:
        run_training(wild, "batch_hard", tiny_catalog, tmp_path)
    assert "\n" not in str(caught.value)
