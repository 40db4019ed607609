"""Ways to run the backbone: the precision that is chosen, and what it leaves behind."""

import pytest
import torch
from torch import nn

from reid.models.embedder import EmbeddingModel
from reid.training.modes import half_precision, training_pass


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
