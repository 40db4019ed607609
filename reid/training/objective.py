"""What is minimised: a weighted sum of losses, each on the features of its side of the BN-neck (Luo et al.
2019, section 3.5).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from reid.config import TermParams
from reid.errors import UsageError
from reid.losses import CombinedLoss, build_loss, loss_options
from reid.losses.synthesis import build_synthesis

__all__ = ["build_objective", "features_by_term", "labels_by_term"]

# Classifiers and proxies work with the directions that a class has after the neck, a memory with its cosines.
_AFTER_NECK = (
    *("softmax", "arcface", "cosface", "sphereface"),
    *("proxy_nca", "proxy_anchor", "bier", "cross_batch_memory"),
)


def features_by_term(objective: CombinedLoss, features: Tensor, necked: Tensor) -> dict[str, Tensor]:
    """Which features (B, D) each term sees: those before the BN-neck, or those after it."""
    return {term: necked if term in objective.after else features for term in objective.terms}


def labels_by_term(objective: CombinedLoss, labels: Tensor, vectors: Tensor | None) -> dict[str, Tensor]:
    """Which labels each term compares by: the people (B,), or continuous label vectors (B, V)."""
    found = {}
    for name, term in objective.terms.items():
        found[name] = vectors if vectors is not None and getattr(term, "continuous", False) else labels
    return found


def build_objective(terms: Mapping[str, TermParams], *, num_classes: int, embedding_dim: int) -> CombinedLoss:
    """The sum of ``terms``; weight 0 leaves one out.

    Raises:
        UsageError: a loss, a miner or an option is unknown, a loss takes no miner, or every weight is 0.
    """
    sizes = {"num_classes": num_classes, "embedding_dim": embedding_dim}
    built, after = {}, set()
    for name, term in terms.items():
        if not term.weight:
            continue
        if hasattr(nn.ModuleDict(), name):
            raise UsageError(f"term {name}: torch has another use for this name: give the term another")
        loss = _build(name, term, sizes)
        built[name] = term.weight, loss
        if _side(term.loss or name, term, loss) == "after":
            after.add(name)
    return CombinedLoss(built, frozenset(after))


def _build(name: str, term: TermParams, sizes: Mapping[str, int]) -> nn.Module:
    loss = term.loss or name
    known = loss_options(loss)
    given = dict(term.options)
    if term.miner is not None:
        if "miner" not in known:
            raise UsageError(f"loss {loss} takes no miner: take the loss triplet, or leave the miner out")
        given |= {"miner": term.miner.name, "miner_options": term.miner.options}
    built = build_loss(loss, **{key: size for key, size in sizes.items() if key in known} | given)
    if term.synthesis is None:
        return built
    return build_synthesis(term.synthesis.name, term.synthesis.options, built)


def _side(loss: str, term: TermParams, built: nn.Module) -> str:
    """Which side of the neck a term takes its features from.

    A learned metric judges the directions of embeddings, and is later asked about those after the neck.
    Before it no feature is negative: two people there are far apart in direction only where they share no
    feature, which fits the people trained on and no others.
    """
    directions = loss in _AFTER_NECK or getattr(built, "pair_metric", None) is not None
    return term.neck or ("after" if directions else "before")
