"""The sections of params.yaml that say what is minimised, on which batches, and from where: objectives, and
pre-trainings, which are objectives without people. Torch-free.

That there is a loss, a miner or a sampler of a name, and that it takes the options, is seen by
:mod:`reid.training.objective`, which knows them.
"""

import re
from collections.abc import Container, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reid.config_data import Section
from reid.wrong_values import NAME_OR_MAPPING

__all__ = [
    "UNTRAINED",
    "DivideParams",
    "Named",
    "ObjectiveParams",
    "PretrainParams",
    "TermParams",
    "TreeParams",
    "checked_objectives",
    "checked_pretrainings",
]

UNTRAINED = "untrained"
"""The start with the weights of ``model.weights``. Like an objective it is a folder below ``models``."""

# Of objectives' names these are taken: what else lies below models.
_TAKEN = (UNTRAINED, "records", "tune")
# What DVC takes as the name of a stage, and neither a dotted key nor a path takes apart.
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_EARLIER = ("triplet_weight", "softmax_weight", "center_weight", "label_smoothing", "options", "tree_levels")


class Named(Section):
    """A miner, a sampler or a synthesis: its name and its options. The name alone, as a text, stands for
    both.
    """

    name: str  # of the miner, sampler or synthesis
    options: dict[str, Any] = Field(default_factory=dict)  # its own

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        if not isinstance(value, str | Mapping | Named):
            raise PydanticCustomError(NAME_OR_MAPPING, "neither a name nor a mapping")
        return {"name": value} if isinstance(value, str) else value


class TermParams(Section):
    """A term of the sum that is minimised."""

    # a name of `reid.losses.LOSSES`; null: the term's own name is one
    loss: str | None = None
    weight: float = Field(default=1.0, ge=0)  # of the term in the sum; 0 leaves it out
    # which side of the BN-neck its features are from; null: after it for classifiers, proxies, a learned
    # metric and a memory, before it for all others
    neck: Literal["before", "after"] | None = None
    # of a loss that takes one: which triplets of a batch count; null: the loss's own
    miner: Named | None = None
    # of a loss that chooses triplets: how harder negatives are made, symmetrical; null: they are not
    synthesis: Named | None = None
    options: dict[str, Any] = Field(default_factory=dict)  # the other arguments of `reid.losses.build_loss`


class TreeParams(Section):
    """The class tree, for the loss `hierarchical` and the sampler `neighbourhoods`."""

    levels: int = Field(default=16, ge=1)  # L of Ge 2018
    every: int = Field(default=1, ge=1)  # epochs from one tree to the next
    # of each person that are embedded for it, evenly over all in the catalog's order; null: all
    images: int | None = Field(default=None, ge=2)


class DivideParams(Section):
    """Divide and conquer (Sanakoyeu 2019): learners with people and numbers of the embedding of their own,
    then the whole.
    """

    learners: int = Field(default=1, ge=1)  # K: groups of people, and slices of the embedding; 1: not divided
    every: int = Field(default=2, ge=1)  # epochs from one clustering to the next
    # of the training that is divided; in the rest the whole is trained
    share: float = Field(default=0.6, gt=0, le=1)


class ObjectiveParams(Section):
    """One objective: what is minimised, on which batches, and where it starts; null leaves a value as in
    `train`.
    """

    # untrained: the weights of `model.weights`; or the name of a pre-training or of another objective, whose
    # model it goes on from
    start: str
    terms: Annotated[dict[str, TermParams], Field(min_length=1)]
    sampler: Named = Named(name="pk")  # how batches are drawn: a name of `reid.training.samplers.SAMPLERS`
    # column of the catalog with the label vectors, for a loss or a sampler with continuous labels:
    # label_vector (of a table its columns label_*), or pose (of rendered people)
    labels: str = "label_vector"
    tree: TreeParams = TreeParams()
    divide: DivideParams = DivideParams()
    steps: int | None = Field(default=None, ge=1)  # as in train
    learning_rate: float | None = Field(default=None, gt=0)  # as in train

    @model_validator(mode="before")
    @classmethod
    def _form(cls, value: object) -> object:
        earlier = [key for key in _EARLIER if isinstance(value, Mapping) and key in value]
        if earlier:
            raise ValueError(
                f"{', '.join(earlier)} are of an earlier form: write start and terms, a loss, its weight and "
                "its options each, as docs/objectives.md shows"
            )
        return value

    @model_validator(mode="after")
    def _is_something(self) -> "ObjectiveParams":
        if not any(term.weight for term in self.terms.values()):
            raise ValueError("the weight of every term is 0: give one a weight above 0")
        return self

    def settings(self) -> dict[str, Any]:
        """What is other than in `train`."""
        return self.model_dump(include={"steps", "learning_rate"}, exclude_none=True)


class PretrainParams(Section):
    """A self-supervised pre-training, `dvc repro pretrain@NAME`: each image is told from all others, whoever
    is on it. null leaves a value as in `train`.
    """

    # where the images are: a folder, searched to its depths, such as the crops of a camera job; or a catalog,
    # whose training images are taken, and whose validation people are scored
    images: str
    method: Literal["simclr", "moco", "simsiam"]  # the losses nt_xent, moco and simsiam
    options: dict[str, Any] = Field(default_factory=dict)  # of that loss, such as temperature or queue
    batch: int = Field(default=64, ge=2, le=100_000)  # images of a batch, in two views each
    steps: int | None = Field(default=None, ge=1)  # as in train
    learning_rate: float | None = Field(default=None, gt=0)  # as in train
    # as in train; moco's keys come from these averaged weights, its momentum encoder
    ema: float | None = Field(default=None, ge=0, lt=1)
    min_crop: float | None = Field(default=0.4, gt=0, le=1)  # as in train
    colour_jitter: float | None = Field(default=0.4, ge=0, lt=1)  # as in train
    grey: float | None = Field(default=0.1, ge=0, le=1)  # as in train
    blur: float | None = Field(default=0.0, ge=0, le=1)  # as in train
    compression: float | None = Field(default=0.0, ge=0, le=1)  # as in train
    auto_augment: float | None = Field(default=0.0, ge=0, le=1)  # as in train
    erasing: float | None = Field(default=None, ge=0, le=1)  # as in train

    def as_objective(self, momentum: float) -> ObjectiveParams:
        """The same as an objective whose people are the single images.

        Args:
            momentum: decay of the averaged weights in force.
        """
        loss = {"simclr": "nt_xent"}.get(self.method, self.method)
        own = {"momentum": momentum} if self.method == "moco" else {}
        terms = {loss: TermParams(options=own | self.options)}
        return ObjectiveParams(start=UNTRAINED, terms=terms, sampler=Named(name="views"))

    def settings(self) -> dict[str, Any]:
        """What is other than in `train`."""
        own = self.model_dump(exclude={"images", "method", "options", "batch"}, exclude_none=True)
        own |= {"identities": self.batch, "images": 2, "camera_aware": False}
        # The whole network learns: there may be nothing yet that its first blocks, or an average, know.
        return own | {"freeze_steps": 0, "freeze_blocks": 0, "layer_decay": 1.0, "self_distillation": 0.0}


def checked_objectives(
    objectives: dict[str, ObjectiveParams], pretrained: Container[str] = ()
) -> dict[str, ObjectiveParams]:
    """The objectives again.

    Args:
        objectives: by name.
        pretrained: the names of the pre-trainings.

    Raises:
        ValueError: there is none, a name cannot be one, or a start does not exist or leads back to where it
            began.
    """
    if not objectives:
        raise ValueError("name at least one objective, with its start and its terms")
    for name, own in objectives.items():
        _named(name, "objective")
        if name in pretrained:
            raise ValueError(f"{name!r} names a pre-training as well: name the objective otherwise")
        for term in own.terms:
            _fits(term, f"term of {name}")
        _begins(objectives, name, pretrained)
    return objectives


def checked_pretrainings(pretrainings: dict[str, PretrainParams]) -> dict[str, PretrainParams]:
    """The pre-trainings again.

    Raises:
        ValueError: a name cannot be one.
    """
    for name in pretrainings:
        _named(name, "pre-training")
    return pretrainings


def _fits(word: str, what: str) -> None:
    if not _NAME.fullmatch(word):
        article = "an" if what[0] in "aeiou" else "a"
        raise ValueError(f"{word!r} cannot name {article} {what}: take letters, digits, - and _")


def _named(name: str, what: str) -> None:
    _fits(name, what)
    if name in _TAKEN:
        raise ValueError(f"{name!r} is taken by another folder of models: name the {what} otherwise")


def _begins(objectives: Mapping[str, ObjectiveParams], name: str, pretrained: Container[str]) -> None:
    way = [name]
    while (start := objectives[way[-1]].start) != UNTRAINED and start not in pretrained:
        if start not in objectives:
            others = ", ".join((UNTRAINED, *(one for one in objectives if one != way[-1])))
            raise ValueError(f"{way[-1]} starts from {start!r}, which is missing: add it, or take {others}")
        if start in way:
            circle = " from ".join((*way, start))
            raise ValueError(f"the starts go in a circle ({circle}): let one of them start from {UNTRAINED}")
        way.append(start)
