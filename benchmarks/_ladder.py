"""The changes of one part of the recipe, which `accuracy_real.py` trains one at a time."""

from dataclasses import dataclass, fields
from typing import Any

from reid.config import UNTRAINED, Params, objective_of, settings_of, with_values
from reid.errors import UsageError

__all__ = ["AUGMENTATIONS", "LADDER", "Changes", "Extras", "Times", "effective", "wanted", "with_change"]

# What is left out of the recipe or added to it, one at a time: how far the figures change is what the part is
# worth.
Change = dict[str, object]
Changes = dict[str, Change]


@dataclass(frozen=True)
class Times:
    """So many times what is in force for the objective that is changed."""

    factor: float


_BASE = "objectives.BASE"  # the section of the objective that is changed
_TERMS = f"{_BASE}.terms"
LADDER: Changes = {
    "without random erasing": {"train.erasing": 0.0},
    "without colour jitter": {"train.colour_jitter": 0.0},
    "without shifts": {"train.pad_crop": 0},
    "without flips": {"train.flip": False},
    "without averaged weights": {"train.ema": 0.0},
    "without warm-up": {"train.warmup_share": 0.0},
    "without label smoothing": {f"{_TERMS}.softmax.options.label_smoothing": 0.0},
    "without classification": {f"{_TERMS}.softmax.weight": 0.0},
    "without camera-aware batches": {"train.camera_aware": False},
    "without the BN-neck": {"model.neck_feature": "before_bn"},
    "last stride 2": {"model.last_stride": 2},
    "without gradient clipping": {"train.gradient_clip": 0.0},
    "generalised-mean pooling": {"model.pooling": "gem"},
    "one cycle": {"train.schedule": "one_cycle"},
    "backbone frozen for the first 50 steps": {"train.freeze_steps": 50},
    "mirror images averaged": {"model.flip": True},
    "images of 192 x 96": {"model.height": 192, "model.width": 96},
    "images of 256 x 128": {"model.height": 256, "model.width": 128},
    "batches of 32 people": {"train.identities": 32, "train.images": 4},
    "random batches": {f"{_BASE}.sampler": {"name": "shuffled"}},
    "twice the learning rate": {"train.learning_rate": Times(2)},
    "half the learning rate": {"train.learning_rate": Times(0.5)},
    "ten times the weight decay": {"train.weight_decay": Times(10)},
    "from the shipped model": {"model.weights": "rendered"},
    "first three blocks frozen": {"train.freeze_blocks": 3},
    "a tenth grey": {"train.grey": 0.1},
    "a third blurred": {"train.blur": 0.33},
    "cut-outs": {"train.min_crop": 0.6},
    "a third compressed": {"train.compression": 0.33},
    "auto-augment": {"train.auto_augment": 0.5},
    "cross-batch memory": {
        f"{_TERMS}.cross_batch_memory": {"weight": 0.5, "options": {"memory": 1024, "start": 30}}
    },
    "self-distillation": {"train.self_distillation": 10.0},
    "layer-wise decay 0.8": {"train.layer_decay": 0.8},
    "layer-wise decay 0.9": {"train.layer_decay": 0.9},
    "embedded at two scales": {"scales": (1.0, 1.5)},
    "softmax of four times the weight": {f"{_TERMS}.softmax.weight": 4.0},
}

# What is said to help on pictures of other cameras.
AUGMENTATIONS: Changes = {
    "colour jitter 0.5": {"train.colour_jitter": 0.5},
    "half grey": {"train.grey": 0.5},
    "half blurred": {"train.blur": 0.5},
    "half grey and half blurred and colour jitter 0.5": {
        "train.grey": 0.5,
        "train.blur": 0.5,
        "train.colour_jitter": 0.5,
    },
    "without random erasing": {"train.erasing": 0.0},
    "styles mixed in half of the steps": {"mix_styles": 0.5},
    "instance norm in four blocks": {"instance_norm": 4},
    "styles mixed and instance norm": {"mix_styles": 0.5, "instance_norm": 4},
    "from the shipped model": {"model.weights": "rendered"},
}


@dataclass(frozen=True)
class Extras:
    """What the benchmark itself changes, beside parameters: styles are mixed in the share ``mix_styles`` of
    the steps, ``instance_norm`` first blocks normalise each image by itself, and test images are embedded at
    every one of these ``scales``.
    """

    mix_styles: float = 0.0
    instance_norm: int = 0
    scales: tuple[float, ...] = (1.0,)

    @property
    def of_mobilenet(self) -> bool:
        """Whether something is changed inside the network, which :mod:`_people` does to one alone."""
        return bool(self.mix_styles or self.instance_norm)


def wanted(words: str, changes: Changes) -> Changes:
    """All, none or the named ones of some changes. Raises UsageError where one is unknown."""
    if words in ("yes", "no"):
        return changes if words == "yes" else {}
    if unknown := [name for name in words.split(",") if name not in changes]:
        raise UsageError(f"change {unknown[0]!r} is unknown: take of {', '.join(changes)}")
    return {name: changes[name] for name in words.split(",")}


def with_change(params: Params, base: str, change: Change) -> tuple[Params, Extras]:
    """The parameters with one change of the objective ``base``, and what is changed beside them.

    What the objective sets itself is changed there: the same key of ``train`` does not count for it.

    Raises:
        UsageError: the parameters have no such key, or the value cannot be.
    """
    own, settings = params.objectives[base].settings(), settings_of(params, base)
    names = {one.name for one in fields(Extras)}
    extras: dict[str, Any] = {key: value for key, value in change.items() if key in names}
    values: dict[str, Any] = {}
    for key in change.keys() - names:
        section, _, name = key.partition(".")
        place = f"{_BASE}.{name}" if section == "train" and name in own else key
        values[place.replace(_BASE, f"objectives.{base}")] = _applied(
            change[key], getattr(settings, name, None)
        )
    return with_values(params, values), Extras(**extras)


def _applied(value: object, before: Any) -> object:
    if not isinstance(value, Times):
        return value
    return float(f"{value.factor * before:.12g}")  # in decimals, as people write them


def effective(params: Params, base: str) -> tuple[object, ...]:
    """All that the training of an objective, and of those that it starts from, goes by."""
    own = objective_of(params, base)
    terms = own.model_copy(update=dict.fromkeys(own.settings()))  # these are in the settings
    start = () if own.start == UNTRAINED else effective(params, own.start)
    return params.model, settings_of(params, base), terms, *start
