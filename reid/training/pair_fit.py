"""The learned metric g, finished on the embeddings that retrieval compares."""

import numpy as np
import numpy.typing as npt
import torch

from reid.data.sampling import PKSampler
from reid.models.pair_metric import PairMetric

__all__ = ["fit_pair_metric"]


def fit_pair_metric(
    metric: PairMetric,
    embeddings: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    *,
    seed: int,
    steps: int = 300,
) -> None:
    """Train ``metric`` alone, in place, by classifying pairs of fixed embeddings (Chen 2017, section 3.2).

    The quadruplet loss trains g on embeddings that still move, by the neck's statistics of each batch and
    before the weights are averaged; so g takes some last steps on what it will be asked about.

    Args:
        metric: g, as the training left it.
        embeddings: (N, D) of the training images, as ``EmbeddingModel.embed`` gives them.
        labels: (N,) of the training people.
        seed: of the batches.
        steps: of Adam, on PK batches.
    """
    rows, classes = torch.from_numpy(embeddings), torch.from_numpy(labels)
    sampler = PKSampler(labels, min(16, len(np.unique(labels))), 4, seed=seed)
    optimizer = torch.optim.Adam(metric.parameters(), lr=0.01)
    done, epoch = 0, 0
    while done < steps:
        sampler.set_epoch(epoch)
        for batch in sampler:
            optimizer.zero_grad()
            metric.classification_loss(metric.logits(rows[batch]), classes[batch]).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
        epoch += 1
