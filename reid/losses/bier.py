"""A boosted ensemble of embeddings (BIER)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid.errors import UsageError
from reid.losses.output import LossOutput, checked, mean_over, split_means
from reid.metric.distances import full_precision, unit_rows
from reid.metric.mining import Groups

__all__ = ["BierLoss", "boosting_rates", "learner_sizes", "learner_weights"]


def boosting_rates(learners: int) -> tuple[float, ...]:
    """``2 / (m + 1)`` for m = 1..M: how far the ensemble moves to learner m (Opitz 2017)."""
    return tuple(2 / (m + 2) for m in range(learners))


def learner_weights(learners: int) -> tuple[float, ...]:
    """What is left of each learner in the ensemble, ``eta_m prod_(n > m) (1 - eta_n)``; they sum to 1."""
    weights: list[float] = []
    for rate in boosting_rates(learners):
        weights = [weight * (1 - rate) for weight in weights] + [rate]
    return tuple(weights)


def learner_sizes(dim: int, learners: int) -> tuple[int, ...]:
    """How many of ``dim`` numbers each learner has: in the proportions of the weights, at least one each.

    Raises:
        UsageError: there are fewer numbers than learners, or no learner.
    """
    if not 1 <= learners <= dim:
        raise UsageError(
            f"bier: learners is {learners}: an embedding of {dim} numbers takes 1 to {dim} of them"
        )
    shares = learner_weights(learners)
    ends = [round(dim * sum(shares[: m + 1])) for m in range(learners)]
    for m in range(learners):  # room for one number each, before and behind
        ends[m] = min(max(ends[m], (ends[m - 1] if m else 0) + 1), dim - (learners - 1 - m))
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))


class BierLoss(nn.Module):
    """Boosting independent embeddings robustly (Opitz, Waltner, Possegger and Bischof 2017).

    The embedding is cut into slices, a learner each; s_m is the cosine of a pair within slice m. Learner m
    minimises the binomial deviance ``w log(1 + exp(-a(s_m)))``, ``a(s) = steepness c (s - threshold)`` with
    c = 1 for a pair of one person and -``cost`` for one of two. The ensemble so far is ``F_m = (1 - eta_m)
    F_(m-1) + eta_m s_m``, eta_m = 2 / (m + 1), and the weight of a pair for the next learner is the negative
    gradient of its deviance for a, ``1 / (1 + exp(a(F_m)))``, without a gradient of its own: what the earlier
    learners tell apart already counts little. For the first learner all weights are 1. The value is the mean
    over the learners of the mean over equal pairs plus the mean over different ones.

    The ensemble is one embedding. Unrolled, the recursion is ``F_M(x, y) = sum_m alpha_m s_m(x, y)`` with
    ``alpha_m = eta_m prod_(n > m) (1 - eta_n)``, and s_m is a product of unit slices. A weight of a product
    has to be shared between its two sides, and both go through the same network: ``sqrt(alpha_m)`` times the
    unit slice gives ``sum_m sqrt(alpha_m)^2 s_m = F_M``, of norm 1 since the weights sum to 1. The lengths of
    the slices, whole numbers in the proportions of the weights, stand for alpha_m D (:attr:`slices`, which
    the head of a model takes on). The authors' published evaluation (``evaluate`` of their train_bier.py)
    multiplies both sides by the share itself, which ranks by ``sum_m alpha_m^2 s_m``: 1 : 4 : 9 for three
    learners in the place of the 1 : 2 : 3 that the pairs were weighed by in training. Here it is F_M.

    Args:
        embedding_dim: D.
        learners: M.
        steepness: beta_1 of the paper.
        threshold: beta_2, a cosine.
        cost: of a pair of two people.
    """

    def __init__(
        self,
        embedding_dim: int,
        learners: int = 3,
        steepness: float = 2.0,
        threshold: float = 0.5,
        cost: float = 25.0,
    ) -> None:
        super().__init__()
        self.slices = learner_sizes(embedding_dim, learners)
        self.steepness = steepness
        self.threshold = threshold
        self.cost = cost

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,). Raises ReidError where an embedding is not finite."""
        embeddings, labels = checked(embeddings, labels)
        groups = Groups.of(labels)
        same = groups.same(embeddings.dtype)
        equal, different = same.clone().fill_diagonal_(0), 1 - same
        factor = self.steepness * (same - self.cost * (1 - same))
        weight = torch.ones_like(same)
        ensemble = torch.zeros_like(same)
        value = embeddings.new_zeros(())
        with full_precision(embeddings):
            parts = [unit_rows(part) for part in embeddings.split(self.slices, 1)]
            for part, rate in zip(parts, boosting_rates(len(parts)), strict=True):
                cosine = part @ part.T
                cost = weight * F.softplus(-factor * (cosine - self.threshold))
                value = value + mean_over(cost, equal) + mean_over(cost, different)
                ensemble = (1 - rate) * ensemble + rate * cosine.detach()
                weight = torch.sigmoid(-factor * (ensemble - self.threshold))
        pairs = max(1, groups.positive_pairs + groups.negative_pairs)
        wrong = ((weight > 0.5) * (equal + different)).sum() / pairs
        distance = (1 - ensemble).fill_diagonal_(0)
        return LossOutput(value / len(parts), wrong, *split_means(distance, groups))
