"""The learned pair metric g applied to embeddings that are already there: scores of pairs.
NumPy, no torch.

g cannot be indexed by nearest-neighbour search, so the distance of the embeddings finds the candidates and g
orders them (:func:`reid.evaluation.rescore_short_list`). Trained by
:class:`reid.models.pair_metric.PairMetric`, which also writes the file.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from reid.errors import ReidError
from reid.files import existing

__all__ = ["PairScorer", "load_pair_scorer"]

Floats = npt.NDArray[np.float32]
_PAIRS = 512  # at a time: some megabytes, which the processor's caches hold


@dataclass(frozen=True, eq=False)
class PairScorer:
    """The weights of g, a fully-connected layer on the squared difference and the product of two
    L2-normalised embeddings (Chen 2017).

    Attributes:
        difference: (D,) float32.
        product: (D,) float32.
        bias: number.
    """

    difference: Floats
    product: Floats
    bias: float

    def paired(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
        """Dissimilarity in 0..1 of row i of ``x`` (..., D) and row i of ``y`` (..., D), broadcast; below 0.5
        is the same person.

        Raises:
            ReidError: embeddings of another dimension than the metric's.
        """
        x, y = self._unit(x), self._unit(y)
        difference = x - y
        log_odds = (difference * difference) @ self.difference + (x * y) @ self.product + self.bias
        # The logistic function by tanh does not overflow on either side.
        return (0.5 + 0.5 * np.tanh(0.5 * log_odds)).astype(np.float32)

    def of_pairs(self, first: Floats, second: Floats, pairs: npt.NDArray[np.int64]) -> Floats:
        """Dissimilarity (N,) of the rows of ``first`` (Q, D) and ``second`` (G, D) that ``pairs`` (N, 2)
        names.

        In memory that does not grow with N times D: a million pairs of 1,280 numbers would take 5 GB a side.

        Raises:
            ReidError: embeddings of another dimension than the metric's.
        """
        scores = np.empty(len(pairs), np.float32)
        for start in range(0, len(pairs), _PAIRS):
            rows, columns = pairs[start : start + _PAIRS].T
            scores[start : start + _PAIRS] = self.paired(first[rows], second[columns])
        return scores

    def _unit(self, x: npt.ArrayLike) -> Floats:
        rows = np.asarray(x, dtype=np.float32)
        if rows.shape[-1:] != self.difference.shape:
            raise ReidError(
                f"embeddings {rows.shape} for a pair metric of {len(self.difference)} dimensions: take "
                "the model it was trained with"
            )
        return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def load_pair_scorer(path: Path | str) -> PairScorer:
    """Read the file that the training saved beside the model.

    Raises:
        UsageError: the file does not exist.
        ReidError: it is not a pair metric.
    """
    path = existing(path, "pair metric")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ReidError(f"pair metric {path} cannot be read ({error}): save it again") from error
    shapes = {name: weight.shape for name, weight in weights.items()}
    dim = shapes.get("difference", ())
    if shapes != {"difference": dim, "product": dim, "bias": ()} or len(dim) != 1:
        raise ReidError(
            f"pair metric {path} holds {shapes}, want difference (D,), product (D,) and bias (): save "
            "it again"
        )
    return PairScorer(
        weights["difference"].astype(np.float32),
        weights["product"].astype(np.float32),
        float(weights["bias"]),
    )
