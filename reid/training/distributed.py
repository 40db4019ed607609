"""One training over several workers: each holds the whole network, computes a part of each batch, and mines
in all of it.

The workers' embeddings are gathered with their gradient, so that every worker computes the same loss of the
same global batch; batch statistics are those of the global batch, too. Two workers therefore do what one
would do with the joined batch, but for rounding.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

__all__ = ["ALONE", "GlobalBatchNorm2d", "Ranks", "backend_for", "share_batch_statistics"]


def backend_for(gpus: float) -> str:
    """What workers with so many GPUs each talk through: NCCL about what lies on a GPU, Gloo about the rest,
    such as the first worker's clock, which NCCL refuses.
    """
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


@dataclass(frozen=True)
class Ranks:
    """A worker's place among all: ``rank`` of ``size``. With one worker everything here does nothing."""

    rank: int = 0
    size: int = 1

    @classmethod
    def present(cls) -> "Ranks":
        """This process's place in the process group that has been set up."""
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this worker writes the files."""
        return self.rank == 0

    def part(self, count: int, rank: int | None = None) -> slice:
        """Which of ``count`` rows are a worker's own."""
        rank = self.rank if rank is None else rank
        return slice(count * rank // self.size, count * (rank + 1) // self.size)

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """All workers' rows, (count, D), of each one's own; the gradient of the own rows flows back."""
        return rows if self.size == 1 else _Gather.apply(rows, self, count)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up what the workers' parts of the batch contributed, in place; for parameters that saw the own
        part alone.
        """
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:  # a frozen backbone
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def broadcast(self, value: float) -> float:
        """The first worker's value: clocks differ."""
        if self.size == 1:
            return value
        of_first = torch.tensor(value, dtype=torch.float64)
        distributed.broadcast(of_first, 0)
        return float(of_first)


ALONE = Ranks()


class _Gather(torch.autograd.Function):
    """Forward: the rows of all workers. Backward: since every worker has the whole loss, its own slice is the
    whole gradient.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, count: int) -> Tensor:
        ctx.own = ranks.part(count)
        parts = [ranks.part(count, rank) for rank in range(ranks.size)]
        longest = max(part.stop - part.start for part in parts)
        padded = rows.new_zeros(longest, *rows.shape[1:])  # gloo gathers equal shapes only
        padded[: len(rows)] = rows
        received = [torch.empty_like(padded) for _ in parts]
        distributed.all_gather(received, padded)
        return torch.cat([each[: part.stop - part.start] for each, part in zip(received, parts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.own].contiguous(), None, None


class _Sum(torch.autograd.Function):
    """The sum over workers; its gradient comes from the outputs of all workers, so it is summed as well."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the mean and variance of all workers' rows; torch's own SyncBatchNorm refuses to
    run on a CPU.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, h, w); in evaluation mode like its parent."""
        if not self.training:
            return super().forward(maps)
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        # In bfloat16 the count itself would be rounded, and sums to two digits.
        rows = maps.to(torch.promote_types(maps.dtype, torch.float32))
        # Filled where the maps are: copied there, it would make the processor wait for a GPU.
        size = rows.new_full((1,), rows.numel() / rows.shape[1])
        total = _Sum.apply(torch.cat([rows.sum(axes), size]))
        count, mean = total[-1].detach(), total[:-1] / total[-1].detach()
        centred = rows - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), self.momentum)
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(maps.dtype)


def share_batch_statistics(module: nn.Module) -> None:
    """Replace every BatchNorm2d below ``module`` by :class:`GlobalBatchNorm2d` with the same tensors, in
    place.
    """
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            own = GlobalBatchNorm2d(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            own.weight, own.bias = child.weight, child.bias
            own.running_mean, own.running_var, own.num_batches_tracked = (
                child.running_mean,
                child.running_var,
                child.num_batches_tracked,
            )
            setattr(module, name, own)
        else:
            share_batch_statistics(child)
