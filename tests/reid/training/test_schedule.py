import pytest
import torch

from reid.training.schedule import cosine, one_cycle


def test_cosine_warms_up_and_falls() -> None:
    factors = [cosine(step / 100, 0.2).factor for step in range(101)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[20] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.01)
    assert factors[:21] == sorted(factors[:21])
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert cosine(0.0, 0.0).factor == pytest.approx(1.0)
    assert {cosine(step / 100, 0.2).beta1 for step in range(101)} == {0.9}


def test_one_cycle_is_torchs() -> None:
    steps, warmup = 41, 0.3
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, pct_start=warmup)
    # torch's first phase ends half a step early: it counts pct_start of the steps, less one, of total_steps
    # less one.
    ours_warmup = (warmup * steps - 1) / (steps - 1)
    for step in range(steps):
        rates = one_cycle(step / (steps - 1), ours_warmup)
        assert rates.factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        assert rates.beta1 == pytest.approx(optimizer.param_groups[0]["betas"][0], rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            peer.step()
    assert one_cycle(0.0, 0.0).factor == pytest.approx(1.0)
