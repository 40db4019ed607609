"""Several objectives at once, each with its weight and each still to be seen by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.losses.output import LossOutput

__all__ = ["CombinedLoss", "CombinedOutput"]


class CombinedOutput(NamedTuple):
    """The weighted sum, the unweighted output of every term by its name, and what else is in the sum,
    unweighted.
    """

    value: Tensor
    terms: dict[str, LossOutput]
    extras: Mapping[str, Tensor] = MappingProxyType({})


class CombinedLoss(nn.Module):
    """A weighted sum of objectives: triplet + softmax + centre is the recipe of the strong baseline (Luo
    2019).

    Args:
        terms: by name, the weight and the objective.
        after: names of the terms that take the features after a BN-neck, for who passes features by name.

    Raises:
        UsageError: there is no term.
    """

    def __init__(
        self, terms: Mapping[str, tuple[float, nn.Module]], after: frozenset[str] = frozenset()
    ) -> None:
        super().__init__()
        if not terms:
            raise UsageError("a combined objective has no term: name at least one with its weight")
        self.after = after
        self.weights = {name: weight for name, (weight, _) in terms.items()}
        self.terms = nn.ModuleDict({name: term for name, (_, term) in terms.items()})

    def forward(
        self, embeddings: Tensor | Mapping[str, Tensor], labels: Tensor | Mapping[str, Tensor]
    ) -> CombinedOutput:
        """Sum for embeddings (B, D) and labels (B,). With a BN-neck the terms take different features, and
        some take continuous labels: pass those by the terms' names.

        Raises:
            UsageError: features are given by name and a term has none.
            ReidError: a term refuses the batch.
        """
        if not isinstance(embeddings, Tensor):
            missing = [name for name in self.terms if name not in embeddings]
            if missing:
                raise UsageError(
                    f"the term {missing[0]!r} of the combined objective has no features: pass them "
                    "under its name"
                )
        outputs: dict[str, LossOutput] = {}
        for name, term in self.terms.items():
            outputs[name] = term(
                embeddings if isinstance(embeddings, Tensor) else embeddings[name],
                labels if isinstance(labels, Tensor) else labels[name],
            )
        value = torch.stack([self.weights[name] * output.value for name, output in outputs.items()]).sum()
        return CombinedOutput(value, outputs)
