"""Hierarchical triplet loss: the margin of a triplet comes from the class tree (Ge, Huang, Dong and Scott
2018).
"""

import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.losses.hinge_sums import triplet_hinge
from reid.losses.output import LossOutput, checked, checked_classes, split_means
from reid.metric.class_tree import ClassTree
from reid.metric.distances import safe_sqrt, squared_distances, unit_rows
from reid.metric.mining import Groups

__all__ = ["HierarchicalLoss"]


class HierarchicalLoss(nn.Module):
    """``1 / (2 Z) sum [d(a, p) - d(a, n) + alpha_z]+`` over all Z triplets of the batch (Ge 2018, equations 5
    and 6).

    ``alpha_z = beta + d_H(y_a, y_n) - s_(y_a)``: H the level at which the two classes merge, d_H its
    threshold, s the mean distance inside the anchor's class. Embeddings are L2-normalised here; labels are
    class indices of the tree.

    Args:
        tree: the class tree; may be set later, and anew every epoch, by :meth:`set_tree`.
        beta: what is added to every margin, in squared distance.
        squared: squared Euclidean distances, as the thresholds are; False takes plain norms.
    """

    margins: Tensor
    levels: Tensor

    def __init__(self, tree: ClassTree | None = None, beta: float = 0.1, squared: bool = True) -> None:
        super().__init__()
        self.beta, self.squared = beta, squared
        self.tree: ClassTree | None = None
        # (C, C): anchor class, negative class
        self.register_buffer("margins", torch.zeros(0, 0, dtype=torch.float64), persistent=False)
        self.register_buffer("levels", torch.zeros(0, 0, dtype=torch.int64), persistent=False)
        if tree is not None:
            self.set_tree(tree)

    def set_tree(self, tree: ClassTree) -> None:
        """Take the margins from ``tree`` from now on."""
        self.tree = tree
        margins = self.beta + tree.thresholds[tree.merge_levels] - tree.intra_class[:, None]
        self.margins = torch.as_tensor(margins).to(self.margins)
        self.levels = torch.as_tensor(tree.merge_levels).to(self.levels)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Value for embeddings (B, D) and class indices (B,). Raises UsageError without a tree, ReidError for
        a bad batch.
        """
        if self.tree is None:
            raise UsageError(
                "the hierarchical objective has no class tree: pass tree= or call set_tree before the "
                "first step"
            )
        embeddings, labels = checked(embeddings, labels)
        labels = checked_classes(labels, len(self.tree.classes))
        matrix = squared_distances(unit_rows(embeddings))
        if not self.squared:
            matrix = safe_sqrt(matrix)
        groups = Groups.of(labels)
        # One row and column a class first: the few there are make the large matrix of margins cheap to lay
        # out.
        present = labels[groups.members[:, 0]]
        margins = self.margins[present][:, present]
        columns = margins.T.to(matrix.dtype).index_select(0, groups.group).T.contiguous()
        # rows alone are gathered, several times as fast as columns
        laid_out = columns.index_select(0, groups.group)
        hinge = triplet_hinge(matrix, laid_out, groups)
        extras = _in_force(margins, self.levels[present][:, present])
        terms = max(1, hinge.terms)
        means = split_means(matrix.detach(), groups)
        return LossOutput(hinge.total / (2 * terms), hinge.active / terms, *means, extras)


def _in_force(margins: Tensor, levels: Tensor) -> dict[str, Tensor]:
    """Margins in force and levels in use, over the ordered pairs of different classes of a batch; both (P,
    P).
    """
    size = len(margins)
    if size < 2:
        return {}
    # Without its first entry, the flat matrix has the diagonal in the last column of rows one longer.
    used, merged = (
        matrix.flatten()[1:].view(size - 1, size + 1)[:, :-1].float() for matrix in (margins, levels)
    )
    return {
        "margin_mean": used.mean(),
        "margin_min": used.amin(),
        "margin_max": used.amax(),
        "level_mean": merged.mean(),
        "level_min": merged.amin(),
        "level_max": merged.amax(),
        "levels_used": _distinct(merged),
    }


def _distinct(values: Tensor) -> Tensor:
    """How many different values there are (0-d); ``unique`` would have a GPU wait."""
    ordered = values.flatten().sort().values
    return 1 + (ordered[1:] != ordered[:-1]).sum().to(values.dtype)
