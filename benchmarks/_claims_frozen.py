"""Claims about embeddings that are there: the frozen features themselves, but where a head is named."""

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
from _claims import Claim
from _heads import embedded
from _objectives import model_of
from _people import World, mean_ap

from reid.evaluation.policies import person_distances
from reid.evaluation.shift import corrupt
from reid.linear_metric import fit_metric
from serving.gallery import Gallery

__all__ = ["CLAIMS"]

_NOTHING = "nothing: frozen features"
_HEAD = "head, batch-hard"


@cache
def _fitted(world: World, seed: int, **how: Any) -> float:
    """mAP of the people held out, with a metric fitted to the others where ``how`` names one."""
    rows, test = world.training_rows(seed), world.test_rows(seed)
    found = world.features[test]
    if how:
        learned = (part[rows] for part in (world.features, world.identities, world.cameras))
        found = fit_metric(*learned, **how).metric.apply(found)
    return mean_ap(found, world.identities[test], world.cameras[test])


def mahalanobis(world: World, seed: int) -> tuple[float, float]:
    """mAP with XQDA and by the Euclidean distance."""
    return _fitted(world, seed, method="xqda"), _fitted(world, seed)


def kernel(world: World, seed: int) -> tuple[float, float]:
    """mAP with XQDA behind a Gaussian kernel and with XQDA alone."""
    return _fitted(world, seed, method="xqda", landmarks=512), _fitted(world, seed, method="xqda")


def codes(world: World, seed: int) -> tuple[float, float]:
    """mAP where the gallery's side is product codes of a byte for eight numbers, and where it is not. The
    codes are learned from the other people.
    """
    test = world.test_rows(seed)
    found, labels = world.features[test], (world.identities[test], world.cameras[test])
    index = faiss.IndexPQ(found.shape[1], found.shape[1] // 8, 8)
    index.pq.cp.min_points_per_centroid = 1  # fewer than FAISS asks for are learned from, which it says
    index.train(world.features[world.training_rows(seed)])
    index.add(found)
    return mean_ap(index.reconstruct_n(0, len(found)), *labels, asking=found), mean_ap(found, *labels)


def compact_gallery(world: World, seed: int) -> tuple[float, float]:
    """Rank-1 of the people held out by the gallery's index `pq` and without, among everybody as the first
    camera saw them.
    """
    first = world.cameras == np.unique(world.cameras)[0]
    asks = world.test_rows(seed)
    asks = asks[~first[asks]]

    def rank1(searched: list[list[tuple[str, float]]]) -> float:
        return float(np.mean(np.asarray([people[0][0] for people in searched]) == world.identities[asks]))

    with (
        TemporaryDirectory() as folder,
        Gallery.open(Path(folder) / "people.db", "claims", create=True) as gallery,
    ):
        gallery.enroll(world.identities[first].tolist(), world.features[first])
        gallery.build_index("pq")
        probes = world.features[asks]
        return rank1(gallery.compact_index().search(probes, 1)), rank1(gallery.search(probes, 1))


def references(world: World, seed: int) -> tuple[float, float]:
    """Rank-1 by the mean of a person's references and by the nearest of them: the first camera's pictures of
    the people held out, asked by those of the others.
    """
    test = world.test_rows(seed)
    first = world.cameras[test] == np.unique(world.cameras[test])[0]
    known, asks = test[first], test[~first]
    found = []
    for policy in ("mean", "min"):
        distances, people = person_distances(
            world.features[asks], world.features[known], world.identities[known], policy
        )
        found.append(float(np.mean(people[distances.argmin(1)] == world.identities[asks])))
    return found[0], found[1]


def worse_pictures(kind: str, world: World, seed: int) -> tuple[float, float]:
    """mAP by batch-hard where the pictures that ask are spoilt, and where they are not."""
    test, model = world.test_rows(seed), model_of(world, seed, "batch_hard")
    clean = embedded(model, world.features[test])
    spoilt = embedded(model, world.network(corrupt(world.images[test], kind, 3, seed=seed)))
    labels = world.identities[test], world.cameras[test]
    return mean_ap(clean, *labels, asking=spoilt), mean_ap(clean, *labels)


def elsewhere(world: World, seed: int) -> tuple[float, float]:
    """mAP in another place of batch-hard on the people of this one, and on as many people of that one."""
    there = world.elsewhere
    assert there is not None
    test = there.test_rows(seed)
    people = len(np.unique(there.identities)) - there.held_out
    labels = there.identities[test], there.cameras[test]
    heads = (model_of(place, seed, "batch_hard", people=people) for place in (world, there))
    found = [mean_ap(embedded(head, there.features[test]), *labels) for head in heads]
    return found[0], found[1]


CLAIMS: dict[str, Claim] = {
    "mahalanobis": Claim(
        "A Mahalanobis metric on frozen features beats the Euclidean distance",
        "Liao 2015 (XQDA)",
        "a matrix",
        "mAP",
        mahalanobis,
        quick=True,
    ),
    "kernel": Claim(
        "A kernel before that metric beats it without",
        "Liao 2015",
        "a matrix on 512 landmarks",
        "mAP",
        kernel,
    ),
    "product_codes": Claim(
        "Product codes in the place of the gallery's embeddings cost less than 0.01",
        "Jegou 2011",
        "codes alone, a byte for eight numbers",
        "mAP",
        codes,
        limit=0.01,
    ),
    "compact_gallery": Claim(
        "Product codes that propose, with exact distances behind them, cost less than 0.01",
        "Jegou 2011",
        "codes, as `reid gallery index` makes them",
        "rank-1",
        compact_gallery,
        limit=0.01,
    ),
    "mean_reference": Claim(
        "The mean of a person's references names better than the nearest",
        "prototypes: Snell 2017",
        _NOTHING,
        "rank-1",
        references,
    ),
    "fall_blurred": Claim(
        "Blurred pictures (severity 3) are found worse",
        "Hendrycks 2019",
        _HEAD,
        "mAP",
        partial(worse_pictures, "blur"),
        smaller=True,
        quick=True,
    ),
    "fall_low_resolution": Claim(
        "Pictures of a quarter of the resolution (severity 3) are found worse",
        "Hendrycks 2019",
        _HEAD,
        "mAP",
        partial(worse_pictures, "low_resolution"),
        smaller=True,
    ),
    "fall_elsewhere": Claim(
        "What was trained elsewhere finds worse than what was trained there on as many people",
        "Deng 2018",
        _HEAD,
        "mAP",
        elsewhere,
        smaller=True,
    ),
}
