"""The learned metric g of the quadruplet objective: how different the persons of two embeddings are, in
0..1.
"""

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from reid.evaluation.pair_metric import load_pair_scorer
from reid.files import atomic_path
from reid.metric.distances import full_precision, unit_rows, widen

__all__ = ["PairMetric"]

_KEYS = ("difference", "product", "bias")


class PairMetric(nn.Module):
    """A fully-connected layer on a pair with a 2-way softmax; g is its *dissimilarity* output (Chen 2017,
    section 3.2).

    The layer sees the pair as its elementwise squared difference and its elementwise product, both the same
    in either order, so g(i, j) = g(j, i) by construction. A 2-way softmax depends on the difference of its
    two logits alone; the layer holds the weights of that difference: ``difference`` (D,), ``product`` (D,)
    and ``bias`` (). All pairs of a batch then cost one matrix product.

    Embeddings are L2-normalised first, so g gives the same on the features of training and on those of a
    gallery. It starts as a rising function of the Euclidean distance, 0.5 at a squared distance of 1.
    """

    def __init__(self, embedding_dim: int, sharpness: float = 4.0) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.difference = nn.Parameter(torch.full((embedding_dim,), sharpness))
        self.product = nn.Parameter(torch.zeros(embedding_dim))
        self.bias = nn.Parameter(torch.tensor(-sharpness))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Log-odds of 'different persons' for every row of ``x`` (N, D) with every row of ``y`` (M, D) or of
        ``x`` itself: (N, M).
        """
        with full_precision(x):
            x = unit_rows(x)
            y = x if y is None else unit_rows(y)
            difference = self.difference.to(x.dtype)
            cross = (x * (self.product.to(x.dtype) - 2 * difference)) @ y.T
            return (
                cross
                + ((x * x) @ difference)[:, None]
                + ((y * y) @ difference)[None, :]
                + self.bias.to(x.dtype)
            )

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Dissimilarity g in 0..1 of every row of ``x`` (N, D) to every row of ``y`` (M, D) or of ``x``
        itself: (N, M).
        """
        return self.logits(x, y).sigmoid()

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        """Dissimilarity g in 0..1 of row i of ``x`` (..., D) to row i of ``y`` (..., D): verification of
        pairs.
        """
        with full_precision(x):
            x, y = F.normalize(widen(x), dim=-1), F.normalize(widen(y), dim=-1)
            features = (x - y).square() @ self.difference.to(x.dtype) + (x * y) @ self.product.to(x.dtype)
            return (features + self.bias.to(x.dtype)).sigmoid()

    def classification_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of 'same' and 'different' over the pairs of a batch, each class weighing half, since
        negatives are the many.

        Args:
            logits: (B, B) from :meth:`logits`.
            labels: (B,).
        """
        same = labels[:, None] == labels[None, :]
        positive = same.clone().fill_diagonal_(False).to(logits.dtype)
        negative = (~same).to(logits.dtype)
        cost_positive = (F.softplus(logits) * positive).sum() / positive.sum().clamp_min(1)
        cost_negative = (F.softplus(-logits) * negative).sum() / negative.sum().clamp_min(1)
        return 0.5 * (cost_positive + cost_negative)

    def save(self, path: Path | str) -> None:
        """Write the three weights to a safetensors file, whole or not at all; ``safetensors.numpy`` reads it
        without torch.
        """
        with atomic_path(path) as temporary:
            # save_file has an error of its own for a full disk
            temporary.write_bytes(
                save({key: getattr(self, key).detach().cpu().contiguous() for key in _KEYS})
            )

    @classmethod
    def load(cls, path: Path | str) -> "PairMetric":
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: the file does not exist.
            ReidError: it is not a pair metric.
        """
        scorer = load_pair_scorer(path)
        metric = cls(len(scorer.difference))
        weights = {key: torch.as_tensor(getattr(scorer, key)) for key in _KEYS}
        metric.load_state_dict(weights)
        return metric
