"""Ways to run the backbone: the precision that is chosen, and what it leaves behind."""

import functools
from pathlib import Path

import pytest
import torch
from torch import nn

from reid.config import Params, with_values
from reid.files import read_json
from reid.models.embedder import EmbeddingModel, load_model
from reid.training.modes import half_precision, training_pass
from reid.training.trial import run_training


@pytest.mark.parametrize("able", ["avx512_bf16", "amx_bf16", None])
def test_auto_is_bfloat16_where_the_processor_calculates_in_it(
    able: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stand-ins for machines that are not here.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        torch.cpu,
        "get_capabilities",
        lambda: {"avx2": True, "avx512_bf16": able == "avx512_bf16", "amx_bf16": able == "amx_bf16"},
    )
    assert half_precision("auto") is (able is not None)
    assert half_precision("bfloat16")
    assert not half_precision("float32")


@pytest.mark.parametrize("half", [True, False])
def test_a_training_pass_is_in_the_wanted_precision_and_leaves_no_trace(half: bool) -> None:
    model = EmbeddingModel(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False)), 4)
    assert training_pass(model, half)(torch.ones(2, 3, 4, 4)).dtype == (
        torch.bfloat16 if half else torch.float32
    )
    assert model(torch.ones(2, 3, 4, 4)).dtype == torch.float32


def test_a_compiled_training_is_the_same(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``aot_eager``, which takes the network apart as a user's compiler does, forward and backward, and
    spares the minute in which that one makes kernels.
    """
    made: list[object] = []
    compiler = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", lambda module: (made.append(module), compiler(module))[1])
    params = with_values(
        tiny_params,
        # the first step is of a frozen backbone, which the second thaws: the network is compiled for both
        {"model.backbone": "timm:test_efficientnet", "train.precision": "float32", "train.freeze_steps": 1}
        | {"train.steps": 2, "train.epoch_steps": 1},
    )
    losses = {}
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        out.mkdir()
        run_training(with_values(params, {"train.compile": compiled}), "batch_hard", tiny_catalog, out)
        losses[compiled] = [row["loss"] for row in read_json(out / "history.json")]
    assert len(made) == 1 and len(losses[True]) == 2
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    weights = [load_model(tmp_path / str(one) / "model.safetensors")[0].state_dict() for one in losses]
    assert weights[0].keys() == weights[1].keys(), "it is saved under the names of the network itself"
