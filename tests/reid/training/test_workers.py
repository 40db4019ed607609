"""What several workers of one training are started with. There is no GPU here: a stand-in takes the place of
Ray's trainer and shows what it is given; what workers on processors do is in test_distributed and test_sweep.
"""

from pathlib import Path
from typing import Any

import pytest
import ray.train.torch
import ray.tune.integration.ray_train
from torch import distributed

from reid.config import Params, with_values
from reid.training import ray_trial


@pytest.mark.parametrize(("gpus", "cuda"), [(0, "gloo"), (1, "nccl"), (2, "nccl")])
def test_workers_with_gpus_talk_through_nccl_about_what_lies_there(
    gpus: int, cuda: str, tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    class StandInTrainer:
        def __init__(self, work: object, **options: Any) -> None:
            given.update(options)

        def fit(self) -> None:
            given["fitted"] = True

    monkeypatch.setattr(ray.train.torch, "TorchTrainer", StandInTrainer)
    # the real one wants to be made within a trial
    monkeypatch.setattr(ray.tune.integration.ray_train, "TuneReportCallback", ray.train.UserCallback)
    monkeypatch.setattr(ray_trial, "threads_of", lambda params: 3)
    params = with_values(tiny_params, {"train.workers": 2, "tune.gpus": gpus})
    ray_trial._train_together(params, {"folder": str(tmp_path)})
    scaling, backend = given["scaling_config"], given["torch_config"].backend
    assert given["fitted"]
    assert (scaling.num_workers, scaling.use_gpu) == (2, gpus > 0)
    assert scaling.resources_per_worker == {"CPU": 3} | ({"GPU": gpus} if gpus else {})
    # As torch itself reads it. The clock of the first worker is in the processor's memory whatever there is.
    by_device = distributed.distributed_c10d.BackendConfig(distributed.Backend(backend)).device_backend_map
    assert (by_device["cpu"], by_device["cuda"]) == ("gloo", cuda)
