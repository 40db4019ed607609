"""Cross-batch memory: each image is compared with the embeddings of earlier batches as well."""

import torch
from torch import Tensor, nn

from reid.errors import ReidError, UsageError
from reid.losses.output import LossOutput, checked, pair_means
from reid.metric.distances import full_precision, unit_rows

__all__ = ["CrossBatchMemoryLoss"]


class CrossBatchMemoryLoss(nn.Module):
    """``1 / B sum over i (sum over positives j of (1 - s_ij) + sum over negatives j of [s_ij - margin]+)``:
    the contrastive loss on cosines s between the rows i of a batch and the entries j of a memory (Wang et al.
    2020, "Cross-Batch Memory for Embedding Learning", algorithm 1).

    A training batch is put into the memory in the place of the oldest entries and then compared with all of
    it. Entries get no gradient; those of the batch are equal to its rows, so that each pair within the batch
    counts from both sides. A row's own entry is not its positive. For the first ``start`` batches the memory
    counts with the batch alone, since a network that still changes fast leaves entries that are no longer
    what it would say: the paper warms up for 1,000 batches.

    Sums are the paper's: the value grows with the memory, by the negatives that are nearer than the margin.
    Before the BN-neck, where no feature is negative, those would be nearly all.

    ``active_fraction`` is the share of the counted pairs that cost something; the mean distances are those
    of the batch's unit vectors. In evaluation nothing is put in.

    Args:
        embedding_dim: D.
        memory: entries that are kept, at least a batch.
        margin: the cosine up to which a negative costs nothing.
        start: batches before the memory is used.

    Raises:
        UsageError: memory, margin or start cannot be one.
    """

    entries: Tensor
    entry_labels: Tensor
    taken: Tensor
    batches: Tensor

    def __init__(self, embedding_dim: int, memory: int = 1024, margin: float = 0.5, start: int = 100) -> None:
        super().__init__()
        for option, value, least in (("memory", memory, 1), ("start", start, 0)):
            if value < least:
                raise UsageError(
                    f"cross_batch_memory: the option {option!r} is {value}: take at least {least}"
                )
        if not -1 <= margin < 1:
            raise UsageError(
                f"cross_batch_memory: the option 'margin' is {margin}: take a cosine from -1 to below 1"
            )
        self.memory, self.margin, self.start = memory, margin, start
        self.register_buffer("entries", torch.zeros(memory, embedding_dim))
        self.register_buffer("entry_labels", torch.zeros(memory, dtype=torch.int64))
        self.register_buffer("taken", torch.tensor(0))  # entries that have ever been put in
        self.register_buffer("batches", torch.tensor(0))  # of a training

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and labels (B,).

        Raises:
            ReidError: embeddings are not finite, or there are more than the memory has entries.
        """
        embeddings, labels = checked(embeddings, labels)
        count = len(labels)
        if count > self.memory:
            raise ReidError(
                f"cross_batch_memory: a memory of {self.memory} is less than a batch of {count}: take a "
                "larger one"
            )
        places = torch.arange(self.memory, device=labels.device)
        own = torch.zeros(count, self.memory, dtype=torch.bool, device=labels.device)
        with full_precision(embeddings):
            rows = unit_rows(embeddings)
            if self.training:
                into = (self.taken + places[:count]) % self.memory
                self._take_in(rows, labels, into)
                own.scatter_(1, into[:, None], True)
            # A copy: the gradient wants the entries as they are before the next batch is put in.
            cosines = rows @ self.entries.to(rows.dtype, copy=True).T
        # What is in the memory is asked of tensors alone: to look at a number would be to wait for a GPU.
        counted = (places < self.taken) & ((self.batches > self.start) | own.any(0)) & ~own
        equal = self.entry_labels == labels[:, None]
        costs = torch.where(equal, 1 - cosines, (cosines - self.margin).clamp_min(0)) * counted
        active = (costs.detach() > 0).sum() / counted.sum().clamp_min(1)
        return LossOutput(costs.sum() / count, active, *pair_means(rows, labels))

    @torch.no_grad()
    def _take_in(self, rows: Tensor, labels: Tensor, into: Tensor) -> None:
        """Put rows (N, D) in these places (N,), those of the oldest."""
        self.entries.index_copy_(0, into, rows.detach().to(self.entries.dtype))
        self.entry_labels.index_copy_(0, into, labels.long())
        self.taken += len(rows)
        self.batches += 1
