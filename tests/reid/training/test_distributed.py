"""Two workers against one with the joined batch: processes that talk through gloo."""

from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, nn

from reid.config import Params, TermParams, with_values
from reid.errors import UsageError
from reid.losses import CombinedLoss
from reid.models.embedder import EmbeddingModel
from reid.training.distributed import ALONE, GlobalBatchNorm2d, Ranks, share_batch_statistics
from reid.training.objective import build_objective, features_by_term
from reid.training.trial import run_training

CLASSES, DIM = 4, 8


def parts(name: str) -> tuple[EmbeddingModel, CombinedLoss, torch.Tensor, torch.Tensor]:
    """A small network in double precision, an objective, and a batch of 4 x 3 images whose halves differ in
    brightness.
    """
    torch.manual_seed(5)
    backbone = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, DIM, 3, bias=False),
        nn.BatchNorm2d(DIM),
    )
    model = EmbeddingModel(backbone, DIM).double()
    options = {
        "batch_hard": {"soft_margin": True},
        "quadruplet": {"metric": "learned", "adaptive": True},
        "multi_similarity": {},
    }[name]
    terms = {
        name: TermParams(options=options),
        "softmax": TermParams(weight=0.5, options={"label_smoothing": 0.1}),
    }
    objective = build_objective(terms, num_classes=CLASSES, embedding_dim=DIM).double()
    images = torch.rand(CLASSES * 3, 3, 8, 4, dtype=torch.float64) * torch.linspace(0.2, 3, CLASSES * 3).view(
        -1, 1, 1, 1
    )
    return model, objective, images, torch.arange(CLASSES).repeat_interleave(3)


def step(name: str, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Loss, gradients and running statistics after one step."""
    model, objective, images, labels = parts(name)
    if ranks.size > 1:
        share_batch_statistics(model.backbone)
    features = ranks.gather(model(images[ranks.part(len(images))]), len(images))
    output = objective(features_by_term(objective, features, model.neck(features)), labels)
    output.value.backward()
    ranks.sum_gradients(model.backbone_parameters())
    named = [("model." + key, p) for key, p in model.named_parameters()] + list(objective.named_parameters())
    result = {key: p.grad for key, p in named if p.grad is not None}
    statistics = {
        key: value.double()
        for key, value in model.state_dict().items()
        if "running" in key or "num_batches" in key
    }
    return {"loss": output.value.detach()} | result | statistics


def started(
    forks: ForkServerContext, target: Callable[..., None], arguments: list[tuple[Any, ...]]
) -> list[ForkServerProcess]:
    """A process for each tuple of arguments."""
    processes = [forks.Process(target=target, args=one, daemon=True) for one in arguments]
    for process in processes:
        process.start()
    return processes


def finish(processes: list[ForkServerProcess]) -> None:
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def work(name: str, rank: int, size: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    save_file(
        {key: value.contiguous() for key, value in step(name, Ranks.present()).items()},
        folder / f"{rank}.safetensors",
    )
    distributed.destroy_process_group()


@pytest.mark.parametrize(("name", "size"), [("batch_hard", 2), ("quadruplet", 2), ("multi_similarity", 3)])
def test_workers_together_do_what_one_does_with_the_joined_batch(
    name: str, size: int, forks: ForkServerContext, tmp_path: Path
) -> None:
    finish(started(forks, work, [(name, rank, size, tmp_path) for rank in range(size)]))
    alone = step(name, ALONE)
    assert sum(key.startswith("model.") for key in alone) >= 7
    for rank in range(size):
        together = load_file(tmp_path / f"{rank}.safetensors")
        assert together.keys() == alone.keys()
        for key, value in alone.items():
            assert torch.allclose(together[key], value, rtol=1e-5, atol=1e-9), f"{key} of worker {rank}"
    assert float(alone["loss"]) > 0


def half_maps() -> torch.Tensor:
    """Of two images a worker; 2 x 17 x 19 positions are a number that bfloat16 does not have."""
    return (3 + torch.randn(4, 6, 17, 19, generator=torch.Generator().manual_seed(1))).bfloat16()


def normalise_part(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    layer = GlobalBatchNorm2d(6)
    own = half_maps()[Ranks.present().part(4)].requires_grad_()
    normal = layer(own)
    assert normal.dtype == torch.bfloat16
    (normal.float() ** 3).sum().backward()
    save_file(
        {"normal": normal.detach(), "gradient": own.grad, **layer.state_dict()},
        folder / f"{rank}.safetensors",
    )
    distributed.destroy_process_group()


def test_statistics_of_bfloat16_are_float32s(forks: ForkServerContext, tmp_path: Path) -> None:
    finish(started(forks, normalise_part, [(rank, tmp_path) for rank in range(2)]))
    exact, maps = nn.BatchNorm2d(6), half_maps().float().requires_grad_()
    normal = exact(maps)
    (normal**3).sum().backward()
    parts = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    for part in parts:
        assert torch.allclose(part["running_mean"], exact.running_mean, rtol=1e-5)
        assert torch.allclose(part["running_var"], exact.running_var, rtol=1e-5)
    together = {key: torch.cat([part[key] for part in parts]).float() for key in ("normal", "gradient")}
    assert float((together["normal"] - normal.detach()).norm() / normal.detach().norm()) < 0.005
    assert float((together["gradient"] - maps.grad).norm() / maps.grad.norm()) < 0.02


def train_part(
    params: Params, name: str, catalog: Path, rank: int, size: int, meet: Path, folder: Path
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=size)
    run_training(params, name, catalog, folder, ranks=Ranks.present())
    distributed.destroy_process_group()


# Ten rows a batch: the second worker's part begins with a key.
MOCO = {"images": "", "method": "moco", "options": {"queue": 15}, "batch": 5}


@pytest.mark.parametrize("name", ["batch_hard", "moco"])
def test_a_whole_training_by_two_workers_ends_near_that_of_one(
    name: str, forks: ForkServerContext, tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    gentle = {
        "pretrain": {"moco": MOCO},
        "train.learning_rate": 1e-6,
        "train.weight_decay": 0.0,
        "train.steps": 2,
        "train.epoch_steps": 1,
        "train.workers": 2,
        "train.self_distillation": 1.0,  # a pre-training has none
    }
    # An untrained network makes much of rounding, and bfloat16 rounds to two digits.
    params = with_values(tiny_params, gentle | {"train.precision": "float32"})
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    alone.mkdir()
    processes = started(
        forks,
        train_part,
        [(params, name, tiny_catalog, rank, 2, tmp_path / "meet", together) for rank in (0, 1)],
    )
    figures = run_training(with_values(params, {"train.workers": 1}), name, tiny_catalog, alone)
    finish(processes)
    one, two = load_file(alone / "model.safetensors"), load_file(together / "model.safetensors")
    statistics = [key for key in one if key.endswith("running_mean")]
    assert statistics
    # By a layer's length: some means are nothing but rounding, alone or with their whole layer.
    for key in statistics:
        assert (one[key] - two[key]).norm() < 2e-4 * one[key].norm() + 1e-5 * len(one[key]) ** 0.5, key
    for figure in ("loss", "self_distillation") if name == "batch_hard" else ("loss",):
        assert figures[figure] == pytest.approx(_figures(together)[figure], rel=1e-4), figure
    assert sorted(path.name for path in together.iterdir()) == sorted(path.name for path in alone.iterdir())


def _figures(folder: Path) -> dict[str, float]:
    from reid.files import read_json

    figures: dict[str, float] = read_json(folder / "summary.json")["figures"]
    return figures


def test_in_evaluation_global_batch_norm_is_the_plain_one() -> None:
    plain = nn.Sequential(nn.BatchNorm2d(3))
    plain[0].running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    images, expected = torch.rand(2, 3, 4, 4), None
    expected = plain.eval()(images)
    share_batch_statistics(plain)
    assert isinstance(plain[0], GlobalBatchNorm2d)
    assert torch.equal(plain.eval()(images), expected)


def test_every_row_is_somebodys() -> None:
    rows = [list(range(10))[Ranks(rank, 3).part(10)] for rank in range(3)]
    assert [row for own in rows for row in own] == list(range(10))


def test_more_workers_than_people(tiny_params: Params, tiny_catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.workers is 4: want at most train\.identities \(3\)"):
        run_training(with_values(tiny_params, {"train.workers": 4}), "batch_hard", tiny_catalog, tmp_path)
