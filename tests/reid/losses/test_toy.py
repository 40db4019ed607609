"""Every objective on a toy of two dimensions: two cameras see six people, each camera in an order of its own,
and a small net must learn who is who across them.
"""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from reid.data.sampling import HierarchicalSampler, PKSampler
from reid.losses import LOSSES, build_loss, loss_options
from reid.losses.cross_batch_memory import CrossBatchMemoryLoss
from reid.metric.class_tree import ClassTree
from reid.metric.distances import pairwise_distances

PEOPLE, IMAGES, DIM, STEPS = 6, 8, 4, 160
OPTIONS = {
    "batch_hard": [{}, {"soft_margin": True}, {"squared": True, "normalise": True}],
    "batch_all": [{"average": "all"}, {"soft_margin": True}],
    "quadruplet": [
        {"metric": "euclidean", "warmup_steps": 40, "normalise": True},
        {"metric": "learned", "warmup_steps": 40},
        {"metric": "learned", "adaptive": False},
        {"metric": "euclidean", "selection": "hardest", "normalise": True},
    ],
    "hierarchical": [{}, {"squared": False}],
    "contrastive": [{}, {"form": "squared"}, {"form": "hadsell"}],
    "batch_semi_hard": [{"normalise": True}],
    # Without smoothing, four dimensions are enough to part six people whose directions differ between the
    # cameras.
    "softmax": [{"label_smoothing": 0.1}],
    "proxy_nca": [{"scale": 3.0}],
    "arcface": [{"scale": 16.0}],
    "cosface": [{"scale": 16.0}],
    "circle": [{"gamma": 32.0}],
    # behind a head of its own the embedding, which is judged here, is not what is compared
    "nt_xent": [{"projection": None}],
    # Of four numbers two learners have one and three, and a cosine of one number is 1 or -1.
    "bier": [{"learners": 1, "cost": 5.0}],
}
# Of continuous labels; of views of one image, not of people.
ELSEWHERE = {"log_ratio", "moco", "simsiam"}
CASES = [(name, options) for name in LOSSES if name not in ELSEWHERE for options in OPTIONS.get(name, [{}])]


def toy() -> tuple[Tensor, Tensor, npt.NDArray[np.int64]]:
    """Points (N, 2), people (N,) and cameras (N,): the people stand on a small circle before one camera, on a
    large one before another.
    """
    rng = np.random.default_rng(0)
    people = np.tile(np.repeat(np.arange(PEOPLE), IMAGES), 2)
    cameras = np.repeat([0, 1], PEOPLE * IMAGES)
    place = np.where(cameras == 0, people, np.array([3, 5, 4, 1, 0, 2])[people])
    angle = 2 * np.pi * place / PEOPLE
    points = (1.0 + cameras)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * rng.normal(
        size=(len(people), 2)
    )
    return torch.from_numpy(points).float(), torch.from_numpy(people), cameras


def mean_ap_across_cameras(embeddings: Tensor, labels: Tensor, cameras: npt.NDArray[np.int64]) -> float:
    query, gallery = torch.from_numpy(cameras == 0), torch.from_numpy(cameras == 1)
    unit = nn.functional.normalize(embeddings)
    order = pairwise_distances(unit[query], unit[gallery]).argsort(1)
    hits = (labels[gallery][order] == labels[query][:, None]).float()
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
    return float(((precision * hits).sum(1) / hits.sum(1)).mean())


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, DIM))


def on_fixed_margins(loss: nn.Module, embeddings: Tensor, labels: Tensor) -> float:
    """The value on the whole set; margins that follow the embeddings would hide whether it falls, and so
    would a memory of other embeddings: it is judged with one that has taken in this set alone.
    """
    if isinstance(loss, CrossBatchMemoryLoss):
        with torch.no_grad():
            return float(CrossBatchMemoryLoss(DIM, len(labels))(embeddings, labels).value)
    adaptive = getattr(loss, "adaptive", None)
    if adaptive:
        loss.adaptive = False
    loss.eval()
    with torch.no_grad():
        value = float(loss(embeddings, labels).value)
    loss.train()
    if adaptive:
        loss.adaptive = True
    return value


def built(name: str, options: dict) -> nn.Module:
    sizes = {"num_classes": PEOPLE, "embedding_dim": DIM}
    return build_loss(
        name, **options, **{key: size for key, size in sizes.items() if key in loss_options(name)}
    )


@pytest.mark.parametrize("name,options", CASES)
def test_a_small_net_learns_who_is_who(name, options):
    x, labels, cameras = toy()
    model, untrained, loss = net(), net(), built(name, options)
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], lr=1e-2)
    # Easy positives need none but the nearest: with two images of each person that one is of the other
    # camera.
    sampler = PKSampler(labels.numpy(), PEOPLE, 2 if name == "easy_positive" else 4, cameras=cameras)
    start = None
    for step in range(STEPS):
        if name == "hierarchical" and step % 20 == 0:
            with torch.no_grad():
                tree = ClassTree.from_embeddings(model(x), labels)
            loss.set_tree(tree)
            sampler = HierarchicalSampler(tree, labels.numpy(), classes=2, neighbours=3, images=8)
        if start is None:
            start = on_fixed_margins(loss, untrained(x), labels)
        sampler.set_epoch(step)
        batch = next(iter(sampler))
        value = loss(model(x[batch]), labels[batch]).value
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        before, after = (mean_ap_across_cameras(one(x), labels, cameras) for one in (untrained, model))
        if name == "hierarchical":  # margins come from the tree: judge both nets by the last one
            start = on_fixed_margins(loss, untrained(x), labels)
        end = on_fixed_margins(loss, model(x), labels)
    assert end < start, (start, end)
    assert before < 0.5
    assert after > 0.9


def test_log_ratio_learns_the_proportions_of_the_labels():
    x, people, cameras = toy()
    # a number of each person's own, the same for both cameras but for half a step
    wanted = people + 0.5 * x.norm(dim=1)
    before, behind = torch.from_numpy(cameras == 0), torch.from_numpy(cameras == 1)
    model, loss = net(), build_loss("log_ratio")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)

    def label_distance_of_the_nearest(embeddings: Tensor) -> float:
        nearest = pairwise_distances(embeddings[before], embeddings[behind]).topk(5, largest=False).indices
        return float((wanted[behind][nearest] - wanted[before][:, None]).abs().mean())

    with torch.no_grad():
        start, start_value = label_distance_of_the_nearest(model(x)), float(loss(model(x), wanted).value)
    for _ in range(STEPS):
        batch = torch.randperm(len(x), generator=generator)[:32]
        value = loss(model(x[batch]), wanted[batch]).value
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        end, end_value = label_distance_of_the_nearest(model(x)), float(loss(model(x), wanted).value)
    assert end_value < 0.5 * start_value
    assert end < 0.4 * start
