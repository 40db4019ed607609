"""The averaged weights as teacher of the weights that are trained."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.config import TrainParams
from reid.losses import CombinedOutput
from reid.metric.distances import full_precision, unit_rows
from reid.models.embedder import EmbeddingModel
from reid.training.distributed import Ranks
from reid.training.modes import half_precision, key_pass, layout

__all__ = ["Teacher", "ramp", "relation_loss"]

_TEMPERATURE = 0.1


@dataclass(frozen=True)
class Teacher:
    """Mean teacher (Tarvainen & Valpola 2017): the average of the networks of all steps so far says what a
    batch looks like, and the trained one is to agree. It is asked without a gradient, and normalises by its
    running statistics, so that what it says of an image does not depend on the batch.

    Unlike there, where each network is given its own noise, and unlike ReSSL, whose teacher is given an image
    changed less, it looks at the very images that the student is given, augmented alike.

    Attributes:
        model: the averaged network.
        look: its float32 features (b, D) before the neck, of images (b, 3, H, W).
        weight: of the agreement in the loss, once the beginning is over.
        beginning: share of the training over which the weight rises, that of the learning rate.
        ranks: the place among several workers.
    """

    model: EmbeddingModel
    look: Callable[[Tensor], Tensor]
    weight: float
    beginning: float
    ranks: Ranks

    @classmethod
    def of(cls, model: EmbeddingModel, settings: TrainParams, ranks: Ranks) -> "Teacher | None":
        """The teacher that the settings ask for; None where they ask for none."""
        if not settings.self_distillation:
            return None
        look, form = key_pass(model, half_precision(settings.precision)), layout(settings.channels_last)

        def seen(images: Tensor) -> Tensor:
            return look(images.to(memory_format=form)).float()

        return cls(model, seen, settings.self_distillation, settings.warmup_share, ranks)

    def taught(
        self, output: CombinedOutput, images: Tensor, necked: Tensor, progress: float
    ) -> CombinedOutput:
        """``output`` and how far the student is from the teacher.

        Args:
            output: of the losses.
            images: (b, 3, H, W), those of this worker.
            necked: (B, D), the student's features after the neck, those of all workers.
            progress: share of the training that is over.
        """
        features = self.ranks.gather(self.look(images), len(necked))
        with torch.no_grad():
            theirs = self.model.neck(features)
        apart = relation_loss(necked, theirs)
        weight = self.weight * ramp(progress, self.beginning)
        return output._replace(value=output.value + weight * apart, extras={"self_distillation": apart})


def ramp(progress: float, beginning: float) -> float:
    """``exp(-5 (1 - x)^2)`` with x the share of the beginning that is over, then 1 (Laine & Aila 2017, and
    mean teachers after them): a teacher that has seen few steps knows nothing.
    """
    return math.exp(-5 * (1 - progress / beginning) ** 2) if progress < beginning else 1.0


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """``T^2 mean over i of KL(softmax_j(t_i t_j / T) || softmax_j(s_i s_j / T))`` of the unit rows t and s, j
    over the other rows of the batch, T = 0.1: whom each image resembles, and how much, as the teacher sees
    it. T^2 keeps its gradient in proportion to the losses' (Hinton et al. 2015, section 2).

    The relations of Zheng et al. 2021 (ReSSL). There both sides are compared with a queue of the teacher's
    earlier features; here each is compared with its own features of the batch, with one temperature for both
    and the divergence in place of the cross-entropy, which makes it 0 where both agree. Unlike the classes
    that mutual mean teachers (Ge et al. 2020) agree about, relations mean something for people whom no
    classifier knows.

    Args:
        student: (B, D) features of any length; the gradient goes here alone.
        teacher: likewise.
    """
    with full_precision(student):
        ours, theirs = (_resemblance(rows) for rows in (student, teacher.detach()))
    return _TEMPERATURE**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def _resemblance(rows: Tensor) -> Tensor:
    """(B, B): the logarithm of the share that each row has in another; of its own there is none."""
    unit = unit_rows(rows)
    # a number whose exponential is 0, not -inf, whose differences are not finite
    return F.log_softmax((unit @ unit.T / _TEMPERATURE).fill_diagonal_(-1e4), dim=1)
