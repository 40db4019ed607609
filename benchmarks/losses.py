"""Forward and backward of our objectives against pytorch-metric-learning's, and against our own
batch-hard.
"""

from collections.abc import Callable

import numpy as np
import torch
from _measure import alternate, arguments, peak_memory_mb, ratio, report
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from torch import Tensor

from reid.losses import build_loss
from reid.metric.class_tree import ClassTree


def step(loss: Callable[[Tensor], Tensor], embeddings: Tensor) -> Callable[[], None]:
    def run() -> None:
        leaf = embeddings.detach().requires_grad_()
        loss(leaf).backward()

    return run


def batch(identities: int, images: int, dim: int) -> tuple[Tensor, Tensor]:
    """People as noisy points around their own centre, so noisy that most hinges cost something, as early in
    training.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(identities).repeat_interleave(images)
    centres = torch.randn(identities, dim, generator=generator)
    return centres[labels] + 4.0 * torch.randn(len(labels), dim, generator=generator), labels


def own(name: str, labels: Tensor, **options: object) -> Callable[[Tensor], Tensor]:
    loss = build_loss(name, **options)
    return lambda embeddings: loss(embeddings, labels).value


def main() -> None:
    options = arguments(
        __doc__ or "", rounds=31, identities=64, images=8, dim=512, threads=torch.get_num_threads(), calls=10
    )
    torch.set_num_threads(options.threads)
    x, y = batch(options.identities, options.images, options.dim)
    # A network's training frees larger arrays than these, after which the allocator keeps such memory; leave
    # it in that state.
    torch.ones(30 << 18)
    miner, triplet = BatchHardMiner(), TripletMarginLoss(margin=0.3)
    tree = ClassTree.from_embeddings(x, y)
    large = alternate(
        {
            "batch_hard": step(own("batch_hard", y), x),
            "pml BatchHardMiner + TripletMarginLoss": step(lambda e: triplet(e, y, miner(e, y)), x),
            "quadruplet (euclidean)": step(own("quadruplet", y, metric="euclidean"), x),
            "quadruplet (learned)": step(
                own("quadruplet", y, metric="learned", embedding_dim=options.dim), x
            ),
            "hierarchical": step(own("hierarchical", y, tree=tree), x),
        },
        options.rounds,
        calls=options.calls,
    )
    x_small, y_small = batch(16, 8, options.dim)
    small = alternate(
        {
            "batch_all (128)": step(own("batch_all", y_small), x_small),
            "pml TripletMarginLoss (128)": step(lambda e: triplet(e, y_small), x_small),
        },
        options.rounds,
        calls=options.calls,
    )
    hard = large["batch_hard"]
    ratios = {
        "batch_hard_vs_pml": ratio(hard, large["pml BatchHardMiner + TripletMarginLoss"]),
        "quadruplet_vs_batch_hard": ratio(large["quadruplet (euclidean)"], hard),
        "hierarchical_vs_batch_hard": ratio(large["hierarchical"], hard),
        "batch_all_vs_pml": ratio(small["batch_all (128)"], small["pml TripletMarginLoss (128)"]),
    }
    measured = large | small
    rows = [(name, 1000 * one.median, one.peak_mb) for name, one in measured.items()] + [("", "", "")]
    rows += [(f"times as fast: {name}", value, "") for name, value in ratios.items()]
    seconds, peak = class_tree_cost()
    rows.append(("class tree, 1041 classes x 32621 images x 512", 1000 * seconds, peak))
    report(
        f"Objectives, {len(y)} x {options.dim}, forward + backward",
        ("objective", "median ms", "peak MB"),
        rows,
        {
            "ratios": ratios,
            "median_ms": {name: 1000 * one.median for name, one in measured.items()},
            "peak_mb": {name: one.peak_mb for name, one in measured.items()},
            "class_tree": {"seconds": seconds, "peak_mb": peak},
            "threads": torch.get_num_threads(),
        },
        options.json,
    )


def class_tree_cost() -> tuple[float, float]:
    """Median seconds of three builds of a tree as large as MSMT17's training set, and the memory it adds."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(1041), rng.integers(1041, size=32621 - 1041)])
    embeddings = (rng.normal(size=(1041, 512))[labels] + rng.normal(size=(32621, 512))).astype(np.float32)

    def build() -> None:
        ClassTree.from_embeddings(embeddings, labels).merge_levels  # noqa: B018

    peak = peak_memory_mb(build)
    return alternate({"tree": build}, rounds=3, warmup=0, memory=False)["tree"].median, peak


if __name__ == "__main__":
    main()
