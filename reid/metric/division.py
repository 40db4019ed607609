"""People in groups, for learners of their own (Sanakoyeu et al. 2019)."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from reid.errors import ReidError

__all__ = ["divided", "matched"]

Rows = npt.NDArray[np.int64]


def divided(embeddings: npt.NDArray[np.float32], labels: Rows, groups: int, seed: int) -> Rows:
    """The group (N,), 0..groups-1, of each image: k-means of the mean unit embeddings of the people.

    The paper clusters images and leaves out those that are then alone of their class. Here all images of a
    person stay together: images of people fall apart by camera first, and a learner that never sees a person
    in two cameras learns nothing across them. Every group has at least two people, for a negative; one that
    k-means leaves smaller takes the nearest person of a larger one.

    Args:
        embeddings: (N, D).
        labels: (N,) people.
        groups: K.
        seed: of k-means.

    Raises:
        ReidError: there are fewer than 2 K people.
    """
    from sklearn.cluster import KMeans  # a second to import, and most trainings divide nobody

    people, index = np.unique(labels, return_inverse=True)
    if len(people) < 2 * groups:
        raise ReidError(
            f"divide: {groups} learners want two people each, {2 * groups} in all, and there are "
            f"{len(people)}: lower learners"
        )
    rows = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(1e-12)
    means = np.zeros((len(people), embeddings.shape[1]))
    np.add.at(means, index, rows)
    means /= np.bincount(index)[:, None]
    found = KMeans(groups, n_init=4, random_state=seed).fit(means)
    group, centres = found.labels_.astype(np.int64), found.cluster_centers_
    while (sizes := np.bincount(group, minlength=groups)).min() < 2:
        smallest = int(sizes.argmin())
        distances = np.linalg.norm(means - centres[smallest], axis=1)
        distances[sizes[group] <= 2] = np.inf
        group[distances.argmin()] = smallest
    result: Rows = group[index]
    return result


def matched(group: Rows, earlier: Rows, groups: int) -> Rows:
    """``group`` (N,) with its numbers exchanged so that as many images as can be keep the number that they
    had ``earlier`` (N,): each learner goes on with the people whom it knows best.

    The paper's cost, images in one of two groups but not in both, is least where the common ones are most.
    """
    common = np.zeros((groups, groups), np.int64)
    np.add.at(common, (group, earlier), 1)
    present, before = linear_sum_assignment(common, maximize=True)
    number = np.empty(groups, np.int64)
    number[present] = before
    result: Rows = number[group]
    return result
