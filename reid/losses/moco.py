"""MoCo: an image's key is found among a queue of the keys of earlier batches."""

import torch
from torch import Tensor, nn

from reid.errors import ReidError, UsageError
from reid.losses.output import LossOutput, checked, mean_over
from reid.losses.projection import SPREAD, head, nothing_learned, spread
from reid.metric.distances import full_precision, unit_rows
from reid.models.averaging import AveragedWeights
from reid.options import AboveZero

__all__ = ["MoCoLoss"]


class MoCoLoss(nn.Module):
    """``-log exp(q k / t) / (exp(q k / t) + sum over the queue of exp(q k_i / t))``, mean over the queries
    (He et al. 2020, equation 1; the two-layer head of MoCo v2, Chen et al. 2020).

    Rows 0, 2, 4, ... of a batch are queries, the row behind each is its key. Keys must come from the averaged
    network, which ``momentum_keys`` asks the training loop for; they get no gradient. Their head is an
    average as well, of this loss's own head and at the same pace. After each training batch its keys replace
    the oldest in the queue.

    The queue begins empty, and places not yet filled take no part: the first batch costs nothing. A key of
    the query's own label in the queue is no negative: where the queue is longer than a pass over the images,
    it would push an image from itself. A query whose key has another label takes no part.

    ``active_fraction`` is the share of the queries that find some negative nearer than their key;
    ``mean_positive`` and ``mean_negative`` are the mean distances from query to key and to the negatives.

    Args:
        embedding_dim: D.
        queue: keys that are kept, a multiple of the batch's images.
        temperature: t.
        momentum: decay of the keys' head; must be that of the averaged network.
        projection: width of the vectors that are compared.
        hidden: width of the layer before it; None: D.

    Raises:
        UsageError: the momentum is 0, so that keys of one queue would be of different networks.
    """

    momentum_keys = True
    queue_rows: Tensor
    queue_labels: Tensor
    taken: Tensor

    def __init__(
        self,
        embedding_dim: int,
        queue: int = 4096,
        temperature: AboveZero = 0.2,
        momentum: float = 0.99,
        projection: int = 128,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 < momentum < 1:
            raise UsageError(
                f"moco: the momentum (ema) is {momentum}: take one between 0 and 1, such as 0.99"
            )
        if queue < 1:
            raise UsageError(f"moco: the option 'queue' is {queue}: take at least one batch of images")
        self.temperature, self.queue = temperature, queue
        self.projector = head(embedding_dim, hidden, projection)
        self.key_projector = AveragedWeights(self.projector, momentum).requires_grad_(False)
        self.register_buffer("queue_rows", torch.zeros(queue, projection))
        self.register_buffer("queue_labels", torch.zeros(queue, dtype=torch.int64))
        self.register_buffer("taken", torch.tensor(0))  # keys that have ever been taken in

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,), query and key in turn; a last row without a key is
        left out.

        Raises:
            ReidError: embeddings are not finite, or the queue is no multiple of the queries.
        """
        embeddings, labels = checked(embeddings, labels)
        count = len(labels) // 2
        if not count:
            return nothing_learned(embeddings)
        if self.queue % count:
            raise ReidError(f"moco: a queue of {self.queue} is no multiple of {count} images in a batch")
        asked, found = labels[: 2 * count : 2], labels[1::2]
        if self.training and int(self.taken):
            self.key_projector.update()  # as the averaged network since the batch before
        with full_precision(embeddings):
            queries = unit_rows(self.projector(embeddings[: 2 * count : 2]))
            with torch.no_grad():
                keys = unit_rows(self.key_projector.module(embeddings[1::2].detach()))
            to_key = (queries * keys).sum(1)
            # A copy: the gradient wants the queue as it was before these keys are taken in.
            to_queue = queries @ self.queue_rows.to(queries.dtype, copy=True).T
        filled = torch.arange(self.queue, device=labels.device) < self.taken
        negative = filled & (self.queue_labels != asked[:, None])
        # The lowest finite number, not -inf, whose differences are not finite.
        lowest = torch.finfo(queries.dtype).min
        logits = torch.cat([to_key[:, None], to_queue], 1) / self.temperature
        ignored = torch.cat([torch.zeros_like(negative[:, :1]), ~negative], 1)
        error = logits.masked_fill(ignored, lowest).logsumexp(1) - logits[:, 0]
        valid = asked == found
        output = LossOutput(
            mean_over(error, valid),
            mean_over(((to_queue > to_key[:, None]) & negative).any(1).to(queries.dtype), valid),
            mean_over(_distance(to_key), valid),
            mean_over(_distance(to_queue), negative),
            {SPREAD: spread(embeddings[: 2 * count : 2])},
        )
        if self.training:
            self._take_in(keys, found)
        return output

    @torch.no_grad()
    def _take_in(self, keys: Tensor, labels: Tensor) -> None:
        """Put keys (N, D) in the place of the oldest; N divides the queue, so that they never run over its
        end.
        """
        place = int(self.taken) % self.queue
        self.queue_rows[place : place + len(keys)] = keys.to(self.queue_rows.dtype)
        self.queue_labels[place : place + len(keys)] = labels
        self.taken += len(keys)


def _distance(cosine: Tensor) -> Tensor:
    """Of unit vectors."""
    return (2 - 2 * cosine.detach()).clamp_min(0).sqrt()
